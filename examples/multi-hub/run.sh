#!/bin/sh
# Runs two hubs with a relayer each on this machine, and shows what they do. It builds nothing:
# UNISONDB names the program (default: bin/unisondb of this repository, else the one on the PATH).
#
#   ./run.sh          shows it, then leaves the nodes running until Ctrl-C
#   ./run.sh -once    shows it, then stops them
#
# Data goes below MULTI_HUB_DATA; without it, into a temporary directory that is removed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

once=
case ${1-} in
'') ;;
-once) once=yes ;;
*)
	echo "usage: run.sh [-once]" >&2
	exit 2
	;;
esac

if [ -z "${UNISONDB-}" ]; then
	UNISONDB=$here/../../bin/unisondb
	[ -x "$UNISONDB" ] || UNISONDB=unisondb
fi
if ! command -v "$UNISONDB" >/dev/null; then
	echo "run.sh: there is no $UNISONDB: run 'make build', or set UNISONDB to the program" >&2
	exit 1
fi
ours=
if [ -z "${MULTI_HUB_DATA-}" ]; then
	MULTI_HUB_DATA=$(mktemp -d)
	ours=yes
fi
export MULTI_HUB_DATA
mkdir -p "$MULTI_HUB_DATA"

east=http://127.0.0.1:4100
west=http://127.0.0.1:4200
east_store=http://127.0.0.1:4110
west_store=http://127.0.0.1:4210

pids=
stop() {
	trap - EXIT INT TERM
	for pid in $pids; do
		kill "$pid" 2>/dev/null || true # it may have ended
	done
	for pid in $pids; do
		wait "$pid" || true
	done
	if [ -n "$ours" ]; then
		rm -rf "$MULTI_HUB_DATA"
	fi
}
trap 'stop' EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

start() { # role, name
	"$UNISONDB" "$1" -config="$here/$2.hcl" >"$MULTI_HUB_DATA/$2.log" 2>&1 &
	pids="$pids $!"
}

# until_it_works repeats a command every half second, for two minutes, and prints nothing but what it
# printed when it worked.
until_it_works() {
	tries=240
	while ! out=$("$@" 2>&1); do
		tries=$((tries - 1))
		if [ $tries = 0 ]; then
			echo "run.sh: this doesn't work: $*" >&2
			echo "$out" >&2
			echo "run.sh: the logs of the nodes end so:" >&2
			tail -n 5 "$MULTI_HUB_DATA"/*.log >&2
			exit 1
		fi
		sleep 0.5
	done
	if [ -n "$out" ]; then
		echo "$out"
	fi
}

say() { printf '\n# %s\n' "$*"; }
show() { # a command of unisondb
	echo "\$ unisondb $*"
	until_it_works "$UNISONDB" "$@"
}
# write prints the position of a write, with which it can be read anywhere.
write() { # address, namespace, key, value
	echo "\$ unisondb kv put -address=$1 -namespace=$2 $3 '$4'"
	answer=$(until_it_works "$UNISONDB" kv put -json -address="$1" -namespace="$2" "$3" "$4")
	position=$(echo "$answer" | sed -n 's/.*"position": *"\([^"]*\)".*/\1/p')
}

say "Two hubs and two relayers start; their logs are in $MULTI_HUB_DATA."
start server east
start server west
start relayer east-store
start relayer west-store

say "A write in the east is read in the west, on the hub and in the store."
write "$east" orders-east order:1 "10 apples"
show kv get -address="$west" -namespace=orders-east -at-least="$position" order:1
show kv get -address="$west_store" -namespace=orders-east -at-least="$position" order:1

say "And the other way round."
write "$west" orders-west order:2 "20 pears"
show kv get -address="$east" -namespace=orders-west -at-least="$position" order:2
show kv get -address="$east_store" -namespace=orders-west -at-least="$position" order:2

say "A hub passes a write to what it doesn't own on to the owner."
write "$west" orders-east order:3 "30 plums"
show kv get -address="$east" -namespace=orders-east order:3

say "What only western stores need goes to these."
write "$west" prices-west pear "0.40"
show kv get -address="$west_store" -namespace=prices-west -at-least="$position" pear

say "A relayer gets one more namespace while it runs."
show operator topology assign -address="$east" -namespace=prices-west -relayer=east-store
show kv get -address="$east_store" -namespace=prices-west -at-least="$position" pear

say "Who has what."
show operator topology show -address="$east"

if [ -z "$once" ]; then
	say "The nodes run until Ctrl-C. Try, for example:"
	echo "  export UNISONDB_ADDR=$east"
	echo "  $UNISONDB status"
	echo "  $UNISONDB operator namespace list"
	wait
fi
