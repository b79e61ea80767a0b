#!/bin/sh
# coverage.sh - line coverage of folders by their unit tests, built with --coverage
#
# usage: coverage.sh BUILD PERCENT TEST... -- FOLDER...
#
# Runs BUILD/unit/TEST, prints a line for each source file, worst first, and the
# sum; fails below PERCENT.
set -eu
build=$1 least=$2
shift 2
find "$build" -name '*.gcda' -exec rm -f {} +
while [ "$1" != -- ]; do
	"$build/unit/$1" > "$build/unit/$1.log" 2>&1 || { tail -n 40 "$build/unit/$1.log"; exit 1; }
	shift
done
shift
for folder; do
	for f in "$folder"/*.c; do
		gcov -n -o "$build/host/$folder" "$f" 2>/dev/null | awk -v f="$f" '
			/^File / { mine = $2 == "\x27" f "\x27" }
			/^Lines executed/ && mine { split($2, a, "[:%]"); print a[2], $4, f; mine = 0; seen = 1 }
			END { if (!seen) print 0, 1, f }'
	done
done | sort -n | awk -v least="$least" '
	{ printf "%6.2f %% of %5d  %s\n", $1, $2, $3; hit += $1 * $2; all += $2 }
	END { printf "%6.2f %% of %5d  together, %d %% wanted\n", hit / all, all, least; exit hit / all < least }'
