#!/bin/sh
# build.sh STAGE OUT VERSION: a Debian package of what `make install` put under STAGE.
# Only dpkg's own tools are needed; libraries it depends on are found by dpkg-shlibdeps.
set -eu
stage=$1 out=$2 version=$3
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$stage/DEBIAN" "$stage/../debian"
printf 'Source: freshet\n\nPackage: freshet\nArchitecture: amd64\n' > "$stage/../debian/control"
libs=$(cd "$stage/.." && dpkg-shlibdeps -O --ignore-missing-info -e"$stage/usr/bin/freshet" \
	-e"$stage/usr/sbin/freshetd" 2> /dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$libs" ]

cat > "$stage/DEBIAN/control" << END
Package: freshet
Version: $version
Architecture: amd64
Maintainer: Freshet maintainers <freshet@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -k -s --exclude=DEBIAN "$stage" | cut -f1)
Depends: $libs, adduser
Recommends: mtools, qemu-utils, dnsmasq-base, ipxe
Suggests: nbd-client, prometheus
Description: streams OS images to the PCs of a computer lab while they run
 A PC netboots a thin hypervisor, which streams the lab's unmodified OS image
 from the server while it already runs, keeps every block on the local disk,
 and boots from there afterwards. This package has the server (freshetd), the
 admin's command line (freshet) and the file that PCs load.
END
echo /etc/freshet/freshetd.conf > "$stage/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$stage/DEBIAN/"
(cd "$stage" && find usr lib etc -type f -print0 2> /dev/null | LC_ALL=C sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$stage" "$out" > /dev/null
