#!/bin/sh
# No trailing blanks, no line over 100 columns in C, no paths of somebody's machine.
cd "$(dirname "$0")/../.." || exit 1
bad=0
git ls-files '*.c' '*.h' '*.S' '*.sh' '*.py' '*.mk' Makefile | xargs grep -nE '[[:blank:]]+$' && bad=1
for f in $(git ls-files '*.c' '*.h'); do
	expand -t8 "$f" | awk -v f="$f" 'length($0) > 100 { print f ":" NR ": " length($0) " columns"; e = 1 } END { exit e }' || bad=1
done
exit $bad
