# What the shell of a page knows beside what the page says. It is process 1 of a PID namespace:
# with it ends everything that the page has started.

# __ready LOG says whether what writes into the log serves: the nodes tell where, and answer /ready.
__ready() {
	if grep -q 'UnisonDB is running, for development' "$1"; then :; else
		# A development group says more when all of its nodes are there.
		! grep -q 'unisondb.hub: node serves: role=hub node_id=dev-hub' "$1" || return 1
	fi
	local address found=
	for address in $(sed -nE 's/.*node serves.*http"?[=:]"?([0-9a-f.:]+|\[[^]]*\]:[0-9]+).*/\1/p' "$1"); do
		found=1
		curl -fsS -o /dev/null "http://$address/ready" 2>/dev/null ||
			curl -fsSk -o /dev/null "https://$address/ready" 2>/dev/null || return 1
	done
	[ -n "$found" ]
}

# __start NAME COMMAND runs a command in a terminal of its own. One that starts nodes is waited for.
__start() {
	local log="$__state/terminal.$1"
	if [ -e "$__state/pid.$1" ] && kill -0 "$(cat "$__state/pid.$1")" 2>/dev/null; then
		echo "the terminal $1 is busy: name another one, or <!-- interrupt: $1 --> before" >&2
		return 1
	fi
	: >"$log"
	printf '%s\n' "$2" >"$__state/command.$1"
	# An orphan, so that the page's own wait and jobs don't see it; the leader of a session, as in
	# a terminal, that Ctrl-C reaches.
	(
		setsid env --default-signal=INT bash -eu "$__state/command.$1" </dev/null >"$log" 2>&1 &
		echo $! >"$__state/pid.$1"
	)
	case $2 in
	*'unisondb server'* | *'unisondb relayer'* | *'make dev'*) ;;
	*) return 0 ;;
	esac
	until __ready "$log"; do
		if ! kill -0 "$(cat "$__state/pid.$1")" 2>/dev/null; then
			echo "the terminal $1 has ended instead of serving" >&2
			return 1
		fi
		sleep 0.1
	done
}

# __signal NAME SIGNAL ends what runs in a terminal, as Ctrl-C and kill -9 do, and waits for its end.
__signal() {
	local pid
	pid=$(cat "$__state/pid.$1")
	kill -s "$2" -- "-$pid"
	while kill -0 -- "-$pid" 2>/dev/null; do sleep 0.05; done
}

# __until COMMAND repeats a command until it succeeds.
__until() {
	until (eval "$1") >"$__state/until" 2>&1; do sleep 0.1; done
}
