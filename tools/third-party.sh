#!/bin/sh
# Unpack the libraries that are compiled into the VMM, from Debian's source
# packages, under the folder named in $1. Source packages are switched on in a
# private apt configuration; the system's stays as it is.
set -eu
dest=${1:?usage: third-party.sh DIR}
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)

exec 9> "$dest/.lock"
flock 9
[ -e "$dest/.stamp" ] && [ "$dest/.stamp" -nt "$0" ] && exit 0

apt=$dest/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
: > "$apt/sources.list"
# Every binary source of the Debian archive, once more as deb-src.
{
	cat /etc/apt/sources.list 2>/dev/null || :
	cat /etc/apt/sources.list.d/*.list 2>/dev/null || :
} | sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' | grep -i 'debian' >> "$apt/sources.list" || :
for f in /etc/apt/sources.list.d/*.sources; do
	[ -e "$f" ] || continue
	grep -qi 'debian-archive-keyring' "$f" || continue
	sed -E 's/^Types:.*/Types: deb-src/' "$f" > "$apt/parts/$(basename "$f")"
done
cat > "$apt/apt.conf" <<EOF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "$apt/parts";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
EOF
export APT_CONFIG="$apt/apt.conf"

echo "third-party: fetching Debian's source packages lwip, zlib, mbedtls"
apt-get -q update > "$apt/log" 2>&1 || { cat "$apt/log" >&2; exit 1; }
cd "$dest"
for p in lwip zlib mbedtls; do
	rm -rf "$p" "$p"-[0-9]* "${p}"_*
	apt-get -q source "$p" >> "$apt/log" 2>&1 || { cat "$apt/log" >&2; exit 1; }
	d=$(find . -maxdepth 1 -type d -name "$p-[0-9]*" | head -1)
	[ -n "$d" ] || { echo "third-party: $p was not unpacked" >&2; exit 1; }
	mv "$d" "$p"
	rm -f "${p}"_*
done
touch "$dest/.stamp"
