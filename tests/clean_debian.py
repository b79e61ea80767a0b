"""A clean Debian 12 in a folder: what an admin installs the package on.

It is made once by mmdebstrap, kept as a tar beside the build, and unpacked for whoever wants one. There is no
systemd in a chroot: `systemctl` is a script that does what a unit's ExecStart, ExecReload and User say and no
more, and policy-rc.d keeps packages from starting things by themselves. The hardening of the units is tried by
test_package.test_units, and not here.

/proc is mounted in a mount namespace of each command's own: it goes with the last process in there, and nothing
of it is ever seen outside.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time

PATIENCE = float(os.environ.get("FRESHET_PATIENCE", "1"))
BASE = "clean-debian.tar"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SYSTEMCTL = r"""#!/bin/sh
# systemctl VERB UNIT...: a stand-in for systemd, which cannot run in a chroot
set -eu
verb=$1; shift
case $verb in start | stop | restart | reload) ;; *) exit 0 ;; esac # packages have more to say
for unit; do
	unit=${unit%.service}
	file=/lib/systemd/system/$unit.service
	say() { sed -n "s/^$1=//p" "$file" | head -1; }
	pid=$(say PIDFile); pid=${pid:-/run/$unit.pid}
	case $verb in restart | stop)
		if [ -e "$pid" ]; then
			p=$(cat "$pid"); kill "$p" 2> /dev/null || :
			for i in $(seq 100); do kill -0 "$p" 2> /dev/null || break; sleep 0.1; done
			rm -f "$pid"
		fi ;;
	esac
	case $verb in start | restart)
		user=$(say User); as=
		[ -z "$user" ] || as="setpriv --reuid $user --regid $user --clear-groups"
		log=/var/log/$unit.log
		: > $log
		if [ "$(say Type)" = forking ]; then
			$(say ExecStart) > $log 2>&1 < /dev/null || { cat $log; exit 1; }
		else
			$as $(say ExecStart) > $log 2>&1 < /dev/null &
			echo $! > "$pid"
		fi ;;
	reload) MAINPID=$(cat "$pid"); eval "$(say ExecReload)" ;;
	esac
done
"""


@contextlib.contextmanager
def alone(build):
    """Tests run side by side; what they share is made by one at a time."""
    with open(os.path.join(build, "clean-debian.lock"), "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def command(cmd, **kw):
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **kw)
    assert p.returncode == 0, "%s\nexited with %d:\n%s" % (" ".join(cmd), p.returncode, p.stdout[-4000:])
    return p.stdout


def base(build):
    """The tar of a minimal Debian with apt, its lists, and certificates for it."""
    path = os.path.join(build, BASE)
    with alone(build):
        if not os.path.exists(path):
            try:
                command(["mmdebstrap", "--variant=apt", "--include=ca-certificates", "bookworm", path + ".new.tar"], timeout=1800)
                os.replace(path + ".new.tar", path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + ".new.tar")
    return path


def package(build, to):
    """`make deb`, and the package copied to @to. Nothing is built anew: see make() in test_package.py."""
    with alone(build):
        command(["make", "--no-print-directory", "-C", ROOT, "BUILD=" + os.path.relpath(build, ROOT), "deb"], timeout=900,
                env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
        shutil.copy(os.path.join(build, "freshet_amd64.deb"), to)


class CleanDebian:
    """One, unpacked at @root."""

    def __init__(self, build, root):
        self.root = os.path.realpath(root)
        tar = base(build)
        os.makedirs(self.root)
        try:
            subprocess.run(["tar", "-C", self.root, "--numeric-owner", "-xf", tar], check=True)
            self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
            self.write("usr/bin/systemctl", SYSTEMCTL, 0o755)
            self.write("etc/dpkg/dpkg.cfg.d/test", "force-unsafe-io\n")  # nobody cuts this machine's power
        except BaseException:
            self.close()
            raise

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def write(self, path, text, mode=0o644):
        with open(self.path(path), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(path), mode)

    def sh(self, script, limit=600, enter=()):
        """Run a script as root in root's home; its output. It stops at the first command that fails.

        @enter comes before the command: into a network namespace, say.
        """
        inside = 'mount --bind /proc "$0/proc" && exec chroot "$0" /bin/sh -exc "$1"'
        return command([*enter, "unshare", "--mount", "sh", "-c", inside, self.root, "cd /root\n" + script],
                       timeout=limit * PATIENCE, env=dict(os.environ, HOME="/root", PATH="/usr/sbin:/usr/bin:/sbin:/bin",
                                                          DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8"))

    def processes(self):
        """Those that run in it."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink("/proc/%s/root" % pid) == self.root:
                    found.append(int(pid))
        return found

    def close(self):
        """End what still runs in it, and remove it."""
        end = time.monotonic() + 20 * PATIENCE
        while self.processes() and time.monotonic() < end:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        shutil.rmtree(self.root)
