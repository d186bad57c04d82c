# What the examples' run.sh have in common: they start real nodes on this machine, show what
# these do, check it, and stop everything that they started. It is POSIX sh, sourced as the
# first thing of a script:
#
#   . "$(dirname "$0")/../lib.sh"
#   begin "$@"
#   start server hub
#   ready http://127.0.0.1:4300
#   …
#   finish
#
# Every script takes -once: it then stops everything when it is through, and its exit status is 0
# only where all checks held. UNISONDB names the program (default: bin/unisondb of this repository,
# else the one on the PATH), DATA the directory for data and logs (default: a temporary one that is
# removed). Nothing here waits for a time to pass: what isn't so yet is asked for again.
#
# In $out is what the last command printed that show, expect, await or check called, and in
# $position where the last write is. Other variables that are set here are the library's own.
set -eu
unset CDPATH # by which cd may go elsewhere, and prints where
here=$(cd "$(dirname "$0")" && pwd) # of the script that sources this

patience=120 # seconds that something may take; a busy machine is slow, never this slow
position=    # of the last write
started=     # name=pid of all that runs, the newest first
nodes=       # the names of those that don't end unless told to
named=       # the names of all that ever ran
once=
ours=
logs=yes

fail() { # text
	echo "run.sh: $*" >&2
	exit 1
}

# needs is for programs that an example can't do without.
needs() { # program, what to do where there is none
	command -v "$1" >/dev/null || fail "there is no $1: $2"
}

# begin reads the arguments, finds the program and makes the directory for data.
begin() {
	case "$#${1-}" in
	0) ;;
	1-once) once=yes ;;
	*)
		echo "usage: run.sh [-once]" >&2
		exit 2
		;;
	esac
	if [ -z "${UNISONDB-}" ]; then
		UNISONDB=$(cd "$here/../.." && pwd)/bin/unisondb
		[ -x "$UNISONDB" ] || UNISONDB=unisondb
	fi
	needs "$UNISONDB" "run 'make build', or set UNISONDB to the program"
	needs curl "install the package of that name"
	UNISONDB=$(command -v "$UNISONDB")
	unisondb() { "$UNISONDB" "$@"; } # the name by which the scripts call and print it
	trap 'leave $?' EXIT
	trap 'logs=; exit 129' HUP
	trap 'logs=; exit 130' INT
	trap 'logs=; exit 143' TERM
	if [ -z "${DATA-}" ]; then
		DATA=$(mktemp -d)
		ours=yes
	fi
	mkdir -p "$DATA"
	DATA=$(cd "$DATA" && pwd) # build works in another directory
	export DATA UNISONDB
}

# leave is the end of the script, however it came: it shows how the logs end where something
# failed, stops what was started, and removes the data if the script made the directory.
leave() { # status
	trap '' HUP INT TERM # a second Ctrl-C doesn't leave anything behind
	trap - EXIT
	set +e
	if [ "$1" != 0 ] && [ -n "$logs" ]; then
		for one in $named; do
			printf '\n--- the end of %s.log\n' "$one" >&2
			tail -n 12 "$DATA/$one.log" >&2
		done
	fi
	for one in $started; do
		kill -TERM "${one##*=}" 2>/dev/null # it may have ended
		kill -CONT "${one##*=}" 2>/dev/null # what is paused takes no signal but this one
	done
	for one in $started; do
		gone "${one##*=}"
	done
	if [ -n "$ours" ]; then
		rm -rf "$DATA"
	fi
	exit "$1"
}

# gone waits until a process that was told to stop has ended. It is told again after ten seconds,
# in case it had only been started and didn't hear, and killed after thirty.
gone() { # pid
	tries=0
	while kill -0 "$1"; do
		case $tries in
		100) kill -TERM "$1" || true ;;
		300) kill -KILL "$1" || true ;;
		esac
		tries=$((tries + 1))
		sleep 0.1
	done
	wait "$1" || true
} 2>/dev/null # bash tells of what was killed

# run starts a program in the background; its output is in $DATA/NAME.log.
run() { # name, command…
	case " $started" in *" $1="*) fail "$1 runs already" ;; esac
	name=$1
	shift
	case " $named " in
	*" $name "*) ;;
	*)
		named="$named $name"
		: >"$DATA/$name.log" # of an earlier run on the same data
		;;
	esac
	"$@" >>"$DATA/$name.log" 2>&1 </dev/null &
	started="$name=$! $started"
}

# start starts a node: `start server east` is unisondb server -config=east.hcl.
start() { # server or relayer, name
	run "$2" "$UNISONDB" "$1" -config="$here/$2.hcl"
	nodes="$nodes $2 "
}

# pid_of says which process a name stands for.
pid_of() { # name
	pid=" $started"
	case "$pid" in *" $1="*) ;; *) fail "$1 doesn't run" ;; esac
	pid=${pid##*" $1="}
	pid=${pid%% *}
}

# drop takes a name off the list of what runs.
drop() { # name
	left=
	for one in $started; do
		[ "${one%=*}" = "$1" ] || left="$left$one "
	done
	started=$left
}

stop() { # name
	pid_of "$1"
	kill -TERM "$pid" 2>/dev/null || true # it may have ended
	kill -CONT "$pid" 2>/dev/null || true
	gone "$pid"
	drop "$1"
}

kill9() { # name
	pid_of "$1"
	kill -KILL "$pid"
	gone "$pid"
	drop "$1"
}

# join waits for a program that ends by itself; its status is the program's.
join() { # name
	pid_of "$1"
	out=
	deadline=$(($(date +%s) + patience))
	while kill -0 "$pid" 2>/dev/null; do
		again "the end of $1"
	done
	drop "$1"
	wait "$pid"
}

pause() { # name
	pid_of "$1"
	kill -STOP "$pid"
}

resume() { # name
	pid_of "$1"
	kill -CONT "$pid"
}

# build compiles a Go program of the example to $DATA/NAME.
build() { # name, directory
	needs go "install it from https://go.dev/dl"
	(cd "$2" && go build -o "$DATA/$1" .)
}

say() { printf '\n# %s\n' "$*"; }

# shown prints a command as one would type it. The last write's position and the directory for
# data, which are long, appear as the variables that they are in.
shown() {
	printf '$'
	for word; do
		case "$word" in
		*"${position:-no position}"*) word=${word%%"$position"*}'$position'${word#*"$position"} ;;
		*"$DATA"*) word=${word%%"$DATA"*}'$DATA'${word#*"$DATA"} ;;
		'' | *[!A-Za-z0-9_./:=@%,+*?\&-]*) word="'$word'" ;;
		esac
		printf ' %s' "$word"
	done
	printf '\n'
}

# until_it_works repeats a command for two minutes, and leaves what it printed in $out.
until_it_works() {
	deadline=$(($(date +%s) + patience))
	until out=$("$@" 2>&1); do
		again "$*"
	done
}

# again is called when something isn't so yet, and fails when it never will be.
again() { # what was tried
	for one in $started; do
		case "$nodes" in *" ${one%=*} "*)
			kill -0 "${one##*=}" 2>/dev/null || fail "the node ${one%=*} has ended"
			;;
		esac
	done
	if [ "$(date +%s)" -ge "$deadline" ]; then
		echo "$out" >&2
		fail "in $patience seconds this didn't work: $1"
	fi
	sleep 0.1
}

# ready waits until nodes serve what they have.
ready() { # address…
	for address; do
		until_it_works curl -sS -f -m 10 "$address/ready"
	done
}

# show prints a command of unisondb and what it answers. It is repeated until it works, as a person
# would do who has just started a node. Where it wrote something, $position is where: with -at-least
# that is read on any node.
show() { # arguments of unisondb…
	shown unisondb "$@"
	until_it_works unisondb "$@"
	if [ -n "$out" ]; then
		printf '%s\n' "$out"
	fi
	wrote=$(printf '%s\n' "$out" | sed -n 's/^Wrote .* at position \([^ ]*\)\.$/\1/p')
	position=${wrote:-$position}
}

# write puts a key, and leaves its position in $position.
write() { # address, namespace, key, value
	position=
	show kv put -address="$1" -namespace="$2" "$3" "$4"
	[ -n "$position" ] || fail "the write answered no position: $out"
}

# expect prints a command, repeats it until its output contains a text, and prints that output.
# The command's own status doesn't count: what is refused is looked at, too.
expect() { # text, command…
	text=$1
	shift
	shown "$@"
	deadline=$(($(date +%s) + patience))
	while
		out=$("$@" 2>&1) || true
		case "$out" in *"$text"*) false ;; esac
	do
		again "$* (its output never had: $text)"
	done
	printf '%s\n' "$out"
}

# await is for what comes to hold, and check for what must hold at once.
await() { # what, command…
	what=$1
	shift
	until_it_works "$@"
	echo "ok: $what"
}

check() { # what, command…
	what=$1
	shift
	if ! out=$("$@" 2>&1); then
		[ -z "$out" ] || printf '%s\n' "$out" >&2
		fail "this doesn't hold: $what: $*"
	fi
	echo "ok: $what"
}

# finish ends the script with -once; otherwise the nodes run until Ctrl-C, and the lines given say
# what may be tried.
finish() { # line…
	if [ -n "$once" ]; then
		printf '\nok\n'
		exit 0
	fi
	say "The nodes run until Ctrl-C; their logs are in $DATA."
	for line; do
		printf '  %s\n' "$line"
	done
	wait
	fail "all nodes have ended"
}
