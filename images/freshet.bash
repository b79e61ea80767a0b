# bash completion for freshet(1): the program itself says what there is.

_freshet()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local words help

	COMPREPLY=()
	case $prev in
	--data|--key|--efi|--ipxe|--token|--ca|--json|--socket)
		compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--format)
		mapfile -t COMPREPLY < <(compgen -W 'raw qcow2 vmdk vhdx vdi vpc' -- "$cur")
		return
		;;
	esac
	# Lines of "  group    verb     what it does"; a command of one word has no verb there.
	if [ "$COMP_CWORD" -eq 1 ]; then
		words=$(freshet --help 2> /dev/null | awk '/^  [a-z]/ { print $1 }' | sort -u)
	elif [ "$COMP_CWORD" -eq 2 ] && [[ $cur != -* ]]; then
		words=$(freshet --help 2> /dev/null | awk -v g="${COMP_WORDS[1]}" \
			'$1 == g && substr($0, 12, 1) != " " { print $2 }')
	fi
	if [ "$COMP_CWORD" -ge 2 ] && [[ $cur == -* ]]; then
		help=$(freshet "${COMP_WORDS[1]}" "${COMP_WORDS[2]}" --help 2> /dev/null)
		words=$(grep -oE -- '(^|[ [])--[a-z-]+' <<< "$help" | tr -d ' [' | sort -u)
	fi
	if [ -n "$words" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	elif [[ $cur != -* ]]; then
		compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _freshet freshet
