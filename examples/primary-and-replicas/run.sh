#!/bin/sh
# Runs a primary and two read replicas on this machine, and shows what readers and writers may
# count on. It builds nothing.
#
#   ./run.sh          shows it, then leaves the nodes running until Ctrl-C
#   ./run.sh -once    shows it, then stops them
. "$(dirname "$0")/../lib.sh"
begin "$@"

primary=http://127.0.0.1:4400
replica_1=http://127.0.0.1:4410
replica_2=http://127.0.0.1:4420
export UNISONDB_NAMESPACE=accounts

say "A primary and two replicas start."
start server primary
start relayer replica-1
start relayer replica-2
ready $primary $replica_1 $replica_2

say "Read your own write on a replica: the read names the position of the write, and waits for it."
show kv put -address=$primary ada 100
show kv get -address=$replica_1 -at-least="$position" ada
check "replica 1 answers what was written" [ "$out" = 100 ]
show kv get -address=$replica_2 -at-least="$position" ada
check "and so does replica 2" [ "$out" = 100 ]

say "A replica refuses writes, and says whose they are."
expect READ_ONLY unisondb kv put -address=$replica_1 ada 0

say "Replica 2 stops. The primary doesn't wait for it, unless a write asks for both."
stop replica-2
show kv put -address=$primary -acks=1 ada 90
expect NOT_REPLICATED unisondb kv put -address=$primary -acks=2 -wait=500ms ada 80

say "Back again, it catches up from where it was: it has what it missed."
start relayer replica-2
expect 80 unisondb kv get -address=$replica_2 ada

say "A write that answers when both replicas have it on their disks; then the primary is killed."
show kv put -address=$primary -acks=2 ada 70
kill9 primary
show kv get -address=$replica_1 -at-least="$position" ada
check "replica 1 has it" [ "$out" = 70 ]
show kv get -address=$replica_2 -at-least="$position" ada
check "replica 2 has it" [ "$out" = 70 ]

say "The primary starts again, and both follow it as before."
start server primary
show kv put -address=$primary -acks=2 ada 60
show status -address=$primary

finish "$UNISONDB kv put -namespace=accounts -address=$primary KEY VALUE" \
	"$UNISONDB kv get -namespace=accounts -address=$replica_1 KEY"
