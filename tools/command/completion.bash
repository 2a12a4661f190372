# bash completion for farcall
_farcall() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i words=0
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-d | -m) ((i++)) ;;
		-*) ;;
		*)
			((words++))
			[ -n "$command" ] || command=${COMP_WORDS[i]}
			;;
		esac
	done
	COMPREPLY=()
	if [[ $previous == -d || $previous == -m ]]; then
		return
	elif [[ $word == -* ]] && ((words < 2)); then
		mapfile -t COMPREPLY < <(compgen -W '--deadline= --memory= --help --version' -- "$word")
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	elif ((words == 0)); then
		mapfile -t COMPREPLY < <(compgen -W 'call inspect types' -- "$word")
	elif ((words == 1)) && [[ $word != */* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(ldconfig -p 2>/dev/null | sed -n 's/^\t\([^ ]*\) .*/\1/p') $(compgen -f -- "$word")" -- "$word")
	elif ((words == 2)) && [[ $command != types ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(farcall inspect "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null |
			sed 's/.*[ *]\([A-Za-z_][A-Za-z_0-9]*\)(.*/\1/')" -- "$word")
	elif [[ $word == @* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -P @ -- "${word#@}")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}
complete -F _farcall farcall
