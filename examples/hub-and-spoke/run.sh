#!/bin/sh
# Runs a hub with two shops and a warehouse on this machine. Labels say who has what, certificates
# who is who; one shop is cut off and catches up. It builds nothing.
#
#   ./run.sh          shows it, then leaves the nodes running until Ctrl-C
#   ./run.sh -once    shows it, then stops them
. "$(dirname "$0")/../lib.sh"
begin "$@"

hub=http://127.0.0.1:4500
berlin=http://127.0.0.1:4510
munich=http://127.0.0.1:4520
depot=http://127.0.0.1:4530

certificate() { # what, for whom
	shown unisondb tls "$@"
	check "made" unisondb tls "$@"
}
caught_up() { # all edges, by what they told the hub last
	unisondb operator relayer list -address=$hub >"$DATA/relayers"
	[ "$(grep -c ' connected .* 0 records' "$DATA/relayers")" = 3 ]
}

if [ ! -f "$DATA/ca.crt" ]; then
	say "A certificate for each node, by which the others know it."
	certificate ca create -out="$DATA"
	certificate cert create -out="$DATA" -hub -name=hub -ip=127.0.0.1
	for edge in berlin munich depot; do
		certificate cert create -out="$DATA" -relayer -name=$edge
	done
fi

say "A hub and three edges start."
start server hub
start relayer berlin
start relayer munich
start relayer depot
ready $hub

say "Prices go to the shops, stock goes to the warehouse: the edges' labels say so."
write $hub prices pear 0.40
show kv get -address=$berlin -namespace=prices -at-least="$position" pear
check "Berlin has it" [ "$out" = 0.40 ]
show kv get -address=$munich -namespace=prices -at-least="$position" pear
check "Munich has it" [ "$out" = 0.40 ]
write $hub stock pear 1200
show kv get -address=$depot -namespace=stock -at-least="$position" pear
check "the warehouse has it" [ "$out" = 1200 ]
expect NAMESPACE_NOT_FOUND unisondb kv get -address=$berlin -namespace=stock pear

say "An assignment by a selector reaches the edges while they run."
write $hub offers today "pears, two for one"
show operator topology assign -address=$hub -namespace=offers -selector=city=berlin
show kv get -address=$berlin -namespace=offers -at-least="$position" today
check "Berlin has it" [ "$out" = "pears, two for one" ]

say "Berlin's power fails, and its line to the hub is dead when it is back: it serves what it has."
kill9 berlin
write $hub prices pear 0.45
pause hub
start relayer berlin
ready $berlin
show kv get -address=$berlin -namespace=prices pear
check "the price that it knew" [ "$out" = 0.40 ]

say "The line is up again: it catches up."
resume hub
show kv get -address=$berlin -namespace=prices -at-least="$position" pear
check "the price of today" [ "$out" = 0.45 ]

say "Who has what, and how far."
await "all edges have told the hub that they have everything" caught_up
show operator relayer list -address=$hub
show operator topology show -address=$hub

finish "export UNISONDB_ADDR=$hub" "$UNISONDB kv put -namespace=prices pear 0.50" \
	"$UNISONDB kv get -namespace=prices -address=$munich pear" "$UNISONDB operator topology show"
