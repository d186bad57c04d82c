#!/bin/sh
# Agents share a board. One is killed with a task in its hands, one is so slow that its lease runs out, and the
# hub is killed in between: every task is done once: run.sh [-once]
. "$(dirname "$0")/../lib.sh"
begin "$@"
build agents "$here"

hub=http://127.0.0.1:5000
site1=http://127.0.0.1:5010
site2=http://127.0.0.1:5020
agents() { "$DATA/agents" "$@"; } # the name by which it is printed
agent() { # name, relayer, more…
	who=$1
	nearby=$2
	shift 2
	shown agents work -name="$who" -local="$nearby" "$@"
	run "$who" "$DATA/agents" work -name="$who" -local="$nearby" "$@"
}

say "A hub with the board, and two relayers."
start server hub
start relayer site-1
start relayer site-2
ready $hub $site1 $site2
until_it_works agents plan -tasks=40

say "One agent will never be through with its thinking, and one not before we let it."
agent mortal $site1 -until="$DATA/never"
agent slow $site2 -until="$DATA/wake"
expect "claimed" cat "$DATA/mortal.log"
expect "claimed" cat "$DATA/slow.log"

say "The first is killed. The others begin; what it had claimed is free when its lease has run out."
kill9 mortal
agent ann $site1
agent bob $site2
agent eve $site2
until_it_works grep -q "result 5," "$DATA/ann.log" "$DATA/bob.log" "$DATA/eve.log"

say "The hub is killed, too, and comes back. The agents try again until it answers."
kill9 hub
start server hub
for one in ann bob eve; do
	join $one || fail "$one has failed"
done

say "All is done, also what the slow one is still at. It wakes up, hands in, and is refused."
: >"$DATA/wake"
join slow || fail "the slow agent has failed"
check "the slow agent is refused" grep "refused" "$DATA/slow.log"
echo "$out"

say "What the board says."
for node in $hub $site1 $site2; do
	check "each task is done once, on $node" agents check -local=$node
	echo "$out"
done
cat "$DATA/ann.log" "$DATA/bob.log" "$DATA/eve.log" | sed -n 's/.*result \([0-9]*\), .* LSN \([0-9]*\)$/\1 \2/p' | sort -n >"$DATA/order"
check "the results' numbers are in the order of their LSNs" awk '$2 <= last { exit 1 } { last = $2 }' "$DATA/order"

finish "$UNISONDB kv list -address=$site1 -namespace=board -prefix=result/" "$UNISONDB kv get -address=$site2 -namespace=board memory/best"
