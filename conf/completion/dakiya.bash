# Completion for bash: the words come from the tools themselves, so that nothing can be missing.
# Installed as share/bash-completion/completions/dakiya, with links dakconf, dakuser and so on.

_dakiya_words() {
	# What may stand behind the program; tools that know --complete print one word a line,
	# of others the options are read out of --help.
	"$1" --complete 2>/dev/null ||
		"$1" --help 2>/dev/null | grep -oE -- '(^|[ ,[|])--?[A-Za-z#][A-Za-z0-9-]*' |
		grep -oE -- '--?[A-Za-z#][A-Za-z0-9-]*'
}

# Ids of messages, for whoever may see the queue; of a long one the beginning.
_dakiya_ids() {
	"$@" -j 2>/dev/null | head -n 200 | sed -n 's/.*"queue_id": "\([^"]*\)".*/\1/p'
}

_dakiya() {
	local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]}
	local previous=${COMP_WORDS[COMP_CWORD-1]} words word group=
	local -a config=()

	COMPREPLY=()
	case $previous in
	-c) COMPREPLY=($(compgen -d -- "$current")); return ;;
	-C) COMPREPLY=($(compgen -W "builtin service user all" -- "$current")); return ;;
	-T) COMPREPLY=($(compgen -W "compile-version run-version public-key-algorithms" -- "$current")); return ;;
	--protocol) COMPREPLY=($(compgen -W "smtp pop3 any" -- "$current")); return ;;
	--state) COMPREPLY=($(compgen -W "active deferred hold maildrop" -- "$current")); return ;;
	esac
	words=$(_dakiya_words "$program")
	for ((word = 1; word < COMP_CWORD; word++)); do
		case ${COMP_WORDS[word]} in
		-c) config=(-c "${COMP_WORDS[word+1]}"); ((word++)) ;;
		-*) ;;
		*) group=${COMP_WORDS[word]}; break ;;
		esac
	done
	if [[ $current == -* ]]; then
		words=$(grep '^-' <<<"$words")
	elif [[ $group ]] && grep -q "^$group " <<<"$words"; then
		words=$(sed -n "s/^$group //p" <<<"$words")
	else
		case ${program##*/} in
		dakconf | postconf) words=$("$program" "${config[@]}" -q -H 2>/dev/null) ;;
		dakqueue | postsuper | postcat)
			case ${program##*/}$group$previous in
			dakqueue*) [[ $group =~ ^(delete|hold|release|requeue|expire|force|why|show|flush)$ ]] &&
				words="ALL $(_dakiya_ids "$program" "${config[@]}")" ;;
			postsuper*-[dhHref]) words="ALL - $(_dakiya_ids postqueue "${config[@]}")" ;;
			postcat*) words=$(_dakiya_ids postqueue "${config[@]}") ;;
			esac ;;
		*) words=$(grep -v '^-' <<<"$words" | cut -d' ' -f1 | sort -u) ;;
		esac
	fi
	COMPREPLY=($(compgen -W "$words" -- "$current"))
	[[ ${#COMPREPLY[@]} -gt 0 || $current == -* ]] || COMPREPLY=($(compgen -f -- "$current"))
}

complete -F _dakiya dakiya dakconf dakmap dakqueue dakuser daklog \
	postfix postconf postmap postalias postqueue postsuper postcat qshape mailq newaliases
