#compdef unisondb
# zsh completion for unisondb. It asks the program what may follow.

_unisondb() {
	local line word about
	local -a whole open

	for line in "${(@f)$(${(Q)words[1]/#\~/$HOME} completion words -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		word=${line%%$'\t'*}
		about=${line#*$'\t'}
		case $word in
		'') ;;
		:files)
			compset -P "${(b)about}"
			_files
			return
			;;
		*=) open+=("${word//:/\\:}:$about") ;; # a flag goes on with its value
		*) whole+=("${word//:/\\:}:$about") ;;
		esac
	done
	_describe -t words unisondb whole -- open -S ''
}

# Loaded from $fpath it is called at once; a sourced script only says that it is there.
if [[ $funcstack[1] == _unisondb ]]; then
	_unisondb "$@"
else
	compdef _unisondb unisondb
fi
