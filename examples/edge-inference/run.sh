#!/bin/sh
# A hub, two relayers, and beside each relayer a program that decides about payments with a model
# that the hub has published. Models, features and policies change while it is asked without a
# pause, and one edge is cut off: no answer may come from two releases.
. "$(dirname "$0")/../lib.sh"
begin "$@"

hub=http://127.0.0.1:4800
relayer_1=http://127.0.0.1:4810
relayer_2=http://127.0.0.1:4820
edge_1=http://127.0.0.1:4818
edge_2=http://127.0.0.1:4828

payment='{"card":"card-007","amount":180,"hour":3,"x":0.9,"y":0.1}'
train() { "$DATA/train" -hub=$hub "$@"; }

# both waits until both edges have gone over to a release.
both() { # release
	expect "\"release\":$1," curl -sS $edge_1/release
	expect "\"release\":$1," curl -sS $edge_2/release
}

build train "$here/train"
build edge "$here/edge"
build drive "$here/drive"

say "A hub and two relayers start, and a program beside each relayer."
start server hub
start relayer edge-1
start relayer edge-2
run program-1 "$DATA/edge" -relayer=$relayer_1 -notifications=tcp://127.0.0.1:4815 -listen=127.0.0.1:4818
run program-2 "$DATA/edge" -relayer=$relayer_2 -notifications=tcp://127.0.0.1:4825 -listen=127.0.0.1:4828
ready $hub

say "The first model: weights, features and policy become visible at one LSN. (The payments are generated.)"
train -model=1
both 1
expect decision curl -sS -d "$payment" $edge_1/decide

say "From here on both edges are asked without a pause, and each answer is verified."
run drive "$DATA/drive" -hub=$hub -edges=$edge_1,$edge_2 -relayers=$relayer_1,$relayer_2

say "A better model. Both edges go over to it; 'after' is the time since its record was made at the hub."
train -model=2
both 2
expect decision curl -sS -d "$payment" $edge_1/decide

say "The policy alone: a lower threshold, with the same weights and features."
train -policy-only -decline-at=0.6
both 3

say "The second edge loses its relayer, and with it the hub. It goes on with what it has."
kill9 edge-2
train -model=1
expect '"release":4,' curl -sS $edge_1/release
expect '"release":3,' curl -sS -d "$payment" $edge_2/decide

say "The relayer comes back, catches up, and the edge goes over."
start relayer edge-2
expect '"release":4,' curl -sS $edge_2/release

say "Releases one after the other, while the second relayer stands still for half of them."
train -burst=6
pause edge-2
train -burst=6
expect '"release":16,' curl -sS $edge_1/release
resume edge-2
both 16
expect 'answers so far: 3000' cat "$DATA/drive.log"

say "What the driver has seen."
stop drive
expect 'releases seen in part: ' cat "$DATA/drive.log"
check "no answer came from two releases" grep -q '^answers with parts of two releases: 0$' "$DATA/drive.log"
check "no edge went back" grep -q '^answers of an earlier release than the one before: 0$' "$DATA/drive.log"
check "the edges always answered" grep -q '^questions without an answer: 0$' "$DATA/drive.log"
check "releases became visible as a whole" grep -q '^releases seen in part: 0$' "$DATA/drive.log"

say "Old weights and features go; the newest three releases keep theirs."
train -prune=3
expect "there is no object" unisondb lob stat -address=$relayer_2 -namespace=inference weights/13
show lob list -address=$relayer_2 -namespace=inference
expect '"release":16,' curl -sS -d "$payment" $edge_2/decide

finish "$DATA/train -model=2" "curl -d '$payment' $edge_1/decide" "curl $edge_2/release"
