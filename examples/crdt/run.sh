#!/bin/sh
# Two hubs write a counter and a register without asking each other, a relayer follows both, and all
# agree in the end: run.sh [-once]
. "$(dirname "$0")/../lib.sh"
begin "$@"
build crdt "$here"
crdt=$DATA/crdt

east=http://127.0.0.1:4900
west=http://127.0.0.1:4910
edge=http://127.0.0.1:4920

link() { run link "$crdt" link 127.0.0.1:4903=127.0.0.1:4901 127.0.0.1:4904=127.0.0.1:4902 127.0.0.1:4913=127.0.0.1:4911 127.0.0.1:4914=127.0.0.1:4912; }
crdt() { "$crdt" "$@"; } # the name by which it is printed
east_writes() { crdt write -node=$east -own=crdt-east -writer=east "$@"; }
west_writes() { crdt write -node=$west -own=crdt-west -writer=west "$@"; }

# at_once runs two writers at the same time.
at_once() { # visits in the east, title, visits in the west, title
	shown crdt write -node=$east -own=crdt-east -writer=east -visits="$1" -title="$2"
	shown crdt write -node=$west -own=crdt-west -writer=west -visits="$3" -title="$4"
	run east-writer east_writes -visits="$1" -title="$2"
	run west-writer west_writes -visits="$3" -title="$4"
	join east-writer || fail "the writer of the east failed"
	join west-writer || fail "the writer of the west failed"
}

# agree waits until a replica is there, then holds all of them against each other.
agree() { # what is expected
	for node in $east $west $edge; do
		expect "$1" crdt read -node=$node
	done
	check "all replicas hold the same" same "$(crdt read -node=$east)" "$(crdt read -node=$west)" "$(crdt read -node=$edge)"
	expect "$(crdt read -node=$edge)" tail -n 1 "$DATA/watch.log"
}
same() { [ "$1" = "$2" ] && [ "$2" = "$3" ]; }

say "Two hubs, with a link between them, and a relayer of both."
link
start server east
start server west
start relayer edge
ready $east $west $edge
run watch "$crdt" watch -node=$edge -feeds=crdt-east=tcp://127.0.0.1:4925,crdt-west=tcp://127.0.0.1:4926

say "Both hubs write at the same time."
at_once 100 "from the east" 100 "from the west"
agree "visits=200"

say "The link between the hubs is cut and the relayer stands still. Each hub goes on with what it owns."
stop link
pause edge
at_once 30 "cut off, in the east" 20 "cut off, in the west"
expect "visits=230 title='cut off, in the east'" crdt read -node=$east
expect "visits=220 title='cut off, in the west'" crdt read -node=$west

say "The link is back, and the relayer goes on. Nothing is lost or counted twice, and the same title wins everywhere."
link
resume edge
agree "visits=250"
check "the register says what was written concurrently" grep -q "concurrent='cut off" "$DATA/watch.log"

say "A title written by someone who knows both replaces both."
east_writes -title="agreed"
agree "title='agreed'"
check "nothing is concurrent to it" sh -c "tail -n 1 '$DATA/watch.log' | grep -v concurrent"

say "A hub is killed. What it had written is where it was, and the other one goes on."
kill9 west
east_writes -visits=10
expect "visits=260" crdt read -node=$edge
expect "visits=260" crdt read -node=$east
start server west
ready $west
west_writes -visits=5
agree "visits=265"

finish "$crdt read -node=$edge" "$crdt write -node=$west -own=crdt-west -writer=west -visits=3 -title=hello" "tail -f $DATA/watch.log"
