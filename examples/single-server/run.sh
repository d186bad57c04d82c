#!/bin/sh
# Runs one server, writes what it can hold, kills it in the middle of a stream of writes, and
# looks for every write that was acknowledged. It builds nothing.
#
#   ./run.sh          shows it, then leaves the server running until Ctrl-C
#   ./run.sh -once    shows it, then stops it
. "$(dirname "$0")/../lib.sh"
begin "$@"

export UNISONDB_ADDR=http://127.0.0.1:4300 UNISONDB_NAMESPACE=shop
api=$UNISONDB_ADDR/api/v1/$UNISONDB_NAMESPACE

# stream puts one key after the other, and writes down how each was answered, until a write fails.
stream() { # number
	curl -sS --fail-early -X PUT -H 'Content-Type: application/octet-stream' --data-binary "of writer $1" \
		-o /dev/null -w '%{http_code} %{url_effective}\n' "$api/kv/stream:$1:[1-1000000]" >"$DATA/answers-$1"
}
acknowledged() { sed -n 's/^200 .*\/kv\///p' "$DATA"/answers-? | LC_ALL=C sort; }
stored() { unisondb kv list -keys-only -prefix=stream: | LC_ALL=C sort; }
at_least_2000() { [ "$(acknowledged | wc -l)" -ge 2000 ]; }

say "A server starts."
start server server
ready $UNISONDB_ADDR

say "Values, rows of columns, and objects of any size."
show kv put price:apple 0.40
show row put item:apple name=Apple origin="South Tyrol"
head -c 3000000 /dev/urandom >"$DATA/photo"
show lob put photo:apple "$DATA/photo"

say "A transaction: both or neither, and only where the condition holds."
sale='{"if":   [{"key": "price:apple", "exists": true}],
 "then": [{"op": "put", "type": "kv",  "key": "sold:1", "value": "YXBwbGU="},
          {"op": "put", "type": "row", "rowKey": "item:apple", "columns": {"sold": "MQ=="}}]}'
expect '"succeeded":true' curl -sS "$api/tx" -d "$sale"

say "A condition that doesn't hold: nothing is written."
expect CONDITION_FAILED unisondb kv put -if-absent price:apple 0.50

say "A value with a time to live goes by itself."
show kv put -ttl=1s offer:today pear
expect "there is no key" unisondb kv get offer:today

say "Four writers put one key after the other. In the middle of that the server is killed."
for writer in 1 2 3 4; do
	run writer-$writer stream $writer
done
await "2000 writes and more are acknowledged" at_least_2000
kill9 server
for writer in 1 2 3 4; do
	! join writer-$writer || fail "writer $writer doesn't notice that the server is gone"
done
acknowledged >"$DATA/acknowledged"

say "It starts again, reads its log, and has every write that it acknowledged."
start server server
ready $UNISONDB_ADDR
stored >"$DATA/stored"
echo "acknowledged: $(wc -l <"$DATA/acknowledged")"
echo "stored:       $(wc -l <"$DATA/stored") (a write under way at the kill may be there, or not)"
LC_ALL=C comm -23 "$DATA/acknowledged" "$DATA/stored" >"$DATA/lost"
check "none is lost" [ ! -s "$DATA/lost" ]
show row get item:apple
check "the transaction is there" [ "$(unisondb kv get sold:1)" = apple ]
unisondb lob get photo:apple >"$DATA/photo-read"
check "the photo is the same, byte for byte" cmp "$DATA/photo" "$DATA/photo-read"
show status

finish "export UNISONDB_ADDR=$UNISONDB_ADDR UNISONDB_NAMESPACE=$UNISONDB_NAMESPACE" "$UNISONDB kv list -limit=10"
