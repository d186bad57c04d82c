#!/bin/sh
# An application reads through a cache in its process that a relayer keeps fresh; messages are lost, the hub
# stands still and the relayer is killed: run.sh [-once]
. "$(dirname "$0")/../lib.sh"
begin "$@"
build synced-cache "$here"
cache() { "$DATA/synced-cache" "$@"; }
app=http://127.0.0.1:5216
item() { curl -sS -i "$app/get/$1"; }
# lost changes an item, and holds where the application has seen that it missed something.
lost() {
	unisondb kv put -address=http://127.0.0.1:5200 -namespace=catalog item/0000 "$(gaps)" && [ "$(gaps)" -gt "$before" ]
}
gaps() { curl -sS "$app/stats" | sed -n 's/.*"gaps":\([0-9]*\).*/\1/p'; }

say "A hub, a relayer, and an application beside it."
start server hub
start relayer edge
ready http://127.0.0.1:5200 http://127.0.0.1:5210
run app "$DATA/synced-cache" app -relayer=http://127.0.0.1:5210 -feed=tcp://127.0.0.1:5215
until_it_works cache fill
expect '"connected":true' curl -sS $app/stats
cache verify || fail "the application doesn't see what the hub has"

say "The application reads while items change on the hub."
check "reads and writes" cache load
echo "$out"
hits=$(printf '%s\n' "$out" | sed -n 's/.*: \([0-9]*\)[.0-9]* % hits.*/\1/p')
check "nine reads of ten, or more, came from the cache" [ "$hits" -ge 90 ]
check "the application has what the hub has" cache verify

say "The application stands still while 100,000 changes are told. It loses messages, and the next one that comes says so."
before=$(gaps)
pause app
cache fill -times=100 || fail "the items couldn't be written"
resume app
until_it_works lost
echo "gaps seen: $((before)) before, $(gaps) now"
check "the application has what the hub has" cache verify

say "The hub stands still. The application goes on, and so does its relayer."
pause hub
expect "X-Cache: hit" item item/0001
resume hub

say "The relayer is killed. What is in the cache is still answered, and marked; what isn't, isn't."
kill9 edge
expect "X-Cache: cut-off" item item/0001
check "an item that was never read can't be answered" sh -c "curl -sS -i $app/get/item/9999 | grep -q 'HTTP/1.1 502'"
show kv put -address=http://127.0.0.1:5200 -namespace=catalog item/0001 "written while the relayer was away"

say "The relayer comes back, and the application reads anew."
start relayer edge
expect "written while the relayer was away" item item/0001
check "the application has what the hub has" cache verify

finish "curl -i $app/get/item/0001" "curl $app/stats" "$DATA/synced-cache load" "$UNISONDB kv put -address=http://127.0.0.1:5200 -namespace=catalog item/0001 new"
