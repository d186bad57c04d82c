# bash completion for unisondb. It asks the program what may follow.

_unisondb() {
	local word rest=$COMP_LINE current keep= i
	local -a words=()
	COMPREPLY=()

	# bash splits words at characters such as = and :, too; the program doesn't.
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((i > 0)) && [[ $rest != [[:space:]]* ]]; then
			words[${#words[@]} - 1]+=$word
		else
			words+=("$word")
		fi
		rest=${rest#"${rest%%[![:space:]]*}"}
		rest=${rest#"$word"}
	done

	# What bash replaces begins behind the last of those characters; an @ belongs to it.
	current=${words[${#words[@]} - 1]}
	for ((i = ${#current}; i > 0; i--)); do
		if [[ ${COMP_WORDBREAKS//@/} == *"${current:i-1:1}"* ]]; then
			keep=${current:0:i}
			break
		fi
	done

	while IFS=$'\t' read -r word rest; do
		if [[ $word == :files ]]; then
			# bash quotes files' names, but would quote the @ in front of one, too.
			[[ $rest == *@ ]] || compopt -o filenames 2>/dev/null || :
			while IFS= read -r word; do
				[[ $rest != *@ ]] || printf -v word %q "$word"
				word=$rest$word
				COMPREPLY+=("${word#"$keep"}")
			done < <(compgen -f -- "${current#"$rest"}")
		else
			COMPREPLY+=("${word#"$keep"}")
		fi
	done < <("${words[0]/#\~/$HOME}" completion words -- "${words[@]:1}" 2>/dev/null)

	# A flag goes on with its value.
	if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *= ]]; then
		compopt -o nospace 2>/dev/null || :
	fi
}

complete -F _unisondb unisondb
