#!/bin/sh
# Runs a hub and a shop on this machine. Orders flow down, with a webhook at the hub and ZeroMQ in
# the shop; what the shop sells flows up, and is written while there is no hub. It takes Python 3 and
# Go for the two programs that are notified.
#
#   ./run.sh          shows it, then leaves everything running until Ctrl-C
#   ./run.sh -once    shows it, then stops it
. "$(dirname "$0")/../lib.sh"
begin "$@"

hub=http://127.0.0.1:4700
shop=http://127.0.0.1:4710
billing=http://127.0.0.1:4720
HOOK_SECRET=only-an-example
export HOOK_SECRET
needs python3 "install the package of that name"
build display "$here"

# order_heard writes an order until the display hears of it: who subscribes hears what comes after that.
order_heard() {
	unisondb kv put -address=$hub -namespace=orders order:1 "2 teas" && grep 'put order:1' "$DATA/display.log"
}

say "A hub, a shop, the billing system that the hub calls, and the display that the shop tells."
start server hub
start relayer shop
run billing python3 "$here/receiver.py" 4720
run display "$DATA/display" tcp://127.0.0.1:4715 orders.
ready $hub $shop
shown unisondb kv put -address=$hub -namespace=orders order:1 "2 teas"
await "the display has joined, and hears of the order" order_heard

say "An order at the hub: the shop has it, its display and the billing system are told."
write $hub orders order:2 "1 coffee"
show kv get -address=$shop -namespace=orders -at-least="$position" order:2
check "the shop has it" [ "$out" = "1 coffee" ]
expect "put order:2" grep order:2 "$DATA/display.log"
expect "put order:2" grep order:2 "$DATA/billing.log"

say "A request without the right signature is turned away."
expect 401 curl -sS -o /dev/null -w '%{http_code}' -d '{"events":[]}' $billing

say "The billing system is away. The display is told at once; the webhook waits, and comes later."
stop billing
write $hub orders order:3 "3 cakes"
expect "put order:3" grep order:3 "$DATA/display.log"
run billing python3 "$here/receiver.py" 4720
expect "put order:3" grep order:3 "$DATA/billing.log"

say "The hub is away. The shop goes on selling, in the namespace that it owns."
kill9 hub
write $shop shop-sales sale:1 "1 cake, 3.20"
show kv get -address=$shop -namespace=orders order:3
check "the orders are there, too" [ "$out" = "3 cakes" ]

say "The hub is back. What was sold has come up to it, by the connection that the shop opened."
start server hub
show kv get -address=$hub -namespace=shop-sales -at-least="$position" sale:1
check "the hub has it" [ "$out" = "1 cake, 3.20" ]
expect READ_ONLY unisondb kv put -address=$hub -namespace=shop-sales sale:1 "nothing"

say "The programs that notify, on the hub and in the shop."
show operator plugin list -address=$hub
show operator plugin list -address=$shop

finish "$UNISONDB kv put -address=$hub -namespace=orders order:4 '1 tea'" "tail -f $DATA/display.log $DATA/billing.log"
