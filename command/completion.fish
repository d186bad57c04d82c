# fish completion for unisondb. It asks the program what may follow.

function __unisondb_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -e words[1]
    for line in ($program completion words -- $words "$current" 2>/dev/null)
        set -l part (string split -m 1 \t -- $line)
        if test "$part[1]" = :files
            set -l skip (math (string length -- "$part[2]") + 1)
            for name in (__fish_complete_path (string sub -s $skip -- "$current") "")
                printf '%s%s\n' "$part[2]" $name
            end
        else
            printf '%s\n' $line
        end
    end
end

complete -c unisondb -f -a '(__unisondb_complete)'
