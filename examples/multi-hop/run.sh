#!/bin/sh
# Runs a hub, a relayer that follows it, and two that follow the relayer, on this machine; then
# takes the hub away, and the relayer in the middle. It builds nothing.
#
#   ./run.sh          shows it, then leaves the nodes running until Ctrl-C
#   ./run.sh -once    shows it, then stops them
. "$(dirname "$0")/../lib.sh"
begin "$@"

hub=http://127.0.0.1:4600
region=http://127.0.0.1:4610
edge_1=http://127.0.0.1:4620
edge_2=http://127.0.0.1:4630
export UNISONDB_NAMESPACE=catalog

say "A hub, and a relayer for the region that follows it."
start server hub
start relayer region
show kv put -address=$hub tea "Assam"
show kv get -address=$region -at-least="$position" tea
check "the region has it" [ "$out" = Assam ]

say "An edge follows the region. Positions hold at each hop: a record has the same number everywhere."
start relayer edge-1
show kv get -address=$edge_1 -at-least="$position" tea
check "the edge has it" [ "$out" = Assam ]

say "How far each is behind the one that it follows, and who follows it."
expect edge-1 unisondb status -address=$region
show status -address=$edge_1

say "The hub is killed. Region and edge go on serving."
kill9 hub
show kv get -address=$region tea
check "the region answers" [ "$out" = Assam ]
show kv get -address=$edge_1 tea
check "the edge answers" [ "$out" = Assam ]

say "An edge that has nothing yet gets it from the region, which relays what it has."
start relayer edge-2
show kv get -address=$edge_2 -at-least="$position" tea
check "the new edge has it" [ "$out" = Assam ]

say "The hub is back: what is written arrives through both hops."
start server hub
show kv put -address=$hub coffee "Harar"
show kv get -address=$edge_2 -at-least="$position" coffee
check "the new edge has it" [ "$out" = Harar ]

say "The region is killed: its edges take the hub's address, the next in their lists."
kill9 region
show kv put -address=$hub cocoa "Arriba"
show kv get -address=$edge_1 -at-least="$position" cocoa
check "edge 1 has it" [ "$out" = Arriba ]
show kv get -address=$edge_2 -at-least="$position" cocoa
check "edge 2 has it" [ "$out" = Arriba ]
expect edge-2 unisondb status -address=$hub

[ -n "$once" ] || start relayer region
finish "$UNISONDB kv put -namespace=catalog -address=$hub KEY VALUE" \
	"$UNISONDB kv get -namespace=catalog -address=$edge_1 KEY" "$UNISONDB status -address=$region"
