#!/bin/sh
# Orders are written to a hub, a webhook brings the changes to a service, and service and hub are killed
# in between. Nothing is lost, and nothing is handled twice: run.sh [-once]
. "$(dirname "$0")/../lib.sh"
begin "$@"
build orders "$here"
HOOK_SECRET=only-an-example
export HOOK_SECRET

orders() { "$DATA/orders" "$@"; } # the name by which it is printed
serve() { # -crash
	run service "$DATA/orders" serve -journal="$DATA/journal" "$@"
}
place() { # first, last
	shown orders place -first="$1" -last="$2"
	run placing "$DATA/orders" place -first="$1" -last="$2"
}
placed() { join placing || fail "orders couldn't be placed"; }
# exact waits for all changes, and holds the service against the hub.
exact() { # changes
	orders wait -changes="$1" || fail "changes are missing"
	check "the service has what the hub has, each change handled once" orders check -changes="$1"
	echo "$out"
}

say "A hub with a webhook, and the service."
start server hub
ready http://127.0.0.1:5100
serve
place 1 200
placed
exact 200

say "The service is killed while orders come in, and comes back later. The hub keeps what it couldn't deliver."
place 201 500
orders wait -changes=230 || fail "nothing arrives"
kill9 service
shown orders cancel -first=1 -last=20
orders cancel -first=1 -last=20
placed
serve
exact 520

say "It ends at the worst moment: the change is stored, and the hub hasn't been told."
stop service
serve -crash
place 501 510
if join service; then fail "the service should have crashed"; fi
placed
serve
exact 530
check "what was stored came again, and was skipped" sh -c "case '$out' in *', 0 that'*) exit 1 ;; esac"

say "The hub is killed while it delivers. It goes on where it was."
place 511 700
orders wait -changes=560 || fail "nothing arrives"
kill9 hub
start server hub
placed
exact 720
check "nothing was set aside" sh -c "'$UNISONDB' operator plugin dead-letters list shipping -address=http://127.0.0.1:5100 -json | grep -q '^\[\]'"

finish "curl -s http://127.0.0.1:5105/projection" "$DATA/orders place -first=701 -last=800" "$UNISONDB operator plugin info shipping -address=http://127.0.0.1:5100"
