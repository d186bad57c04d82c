#!/bin/sh
# Runs two hubs with a relayer each on this machine, and shows what they do. It builds nothing.
#
#   ./run.sh          shows it, then leaves the nodes running until Ctrl-C
#   ./run.sh -once    shows it, then stops them
. "$(dirname "$0")/../lib.sh"
begin "$@"

east=http://127.0.0.1:4100
west=http://127.0.0.1:4200
east_store=http://127.0.0.1:4110
west_store=http://127.0.0.1:4210

say "Two hubs and two relayers start."
start server east
start server west
start relayer east-store
start relayer west-store

say "A write in the east is read in the west, on the hub and in the store."
write $east orders-east order:1 "10 apples"
show kv get -address=$west -namespace=orders-east -at-least="$position" order:1
check "the west has it" [ "$out" = "10 apples" ]
show kv get -address=$west_store -namespace=orders-east -at-least="$position" order:1
check "its store, too" [ "$out" = "10 apples" ]

say "And the other way round."
write $west orders-west order:2 "20 pears"
show kv get -address=$east -namespace=orders-west -at-least="$position" order:2
check "the east has it" [ "$out" = "20 pears" ]
show kv get -address=$east_store -namespace=orders-west -at-least="$position" order:2
check "its store, too" [ "$out" = "20 pears" ]

say "A hub passes a write to what it doesn't own on to the owner."
write $west orders-east order:3 "30 plums"
show kv get -address=$east -namespace=orders-east order:3
check "the owner has it" [ "$out" = "30 plums" ]

say "What only western stores need goes to these."
write $west prices-west pear "0.40"
show kv get -address=$west_store -namespace=prices-west -at-least="$position" pear
check "the western store has it" [ "$out" = "0.40" ]

say "A relayer gets one more namespace while it runs."
show operator topology assign -address=$east -namespace=prices-west -relayer=east-store
show kv get -address=$east_store -namespace=prices-west -at-least="$position" pear
check "the eastern store has it" [ "$out" = "0.40" ]

say "Who has what."
show operator topology show -address=$east

finish "export UNISONDB_ADDR=$east" "$UNISONDB status" "$UNISONDB operator namespace list"
