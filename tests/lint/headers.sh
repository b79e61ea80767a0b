#!/bin/sh
# Every header compiles alone.
cd "$(dirname "$0")/../.." || exit 1
bad=0
for h in $(git ls-files '*.h'); do
	case $h in
	net/stack/port/*|boot/loader/*|base/mbedtls_config.h|tests/*) continue ;; # a library's or the firmware's world
	esac
	echo "#include \"$h\"" | gcc -xc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -Inet/stack/port \
		-isystem build/third_party/lwip/src/include -fsyntax-only - || { echo "$h does not compile alone"; bad=1; }
done
exit $bad
