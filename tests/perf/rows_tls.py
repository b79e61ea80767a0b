"""What TLS costs a PC: the VMM's client, built for this machine, against a server in the same process."""

import json
import os

import lab

BAR = 0.5  # of the plain throughput, while all of it is inflated and hashed as well


def rows(run):
    lab.run("make", "-s", "-C", lab.ROOT, "build/tls-bench")
    f = json.loads(lab.run(os.path.join(lab.ROOT, "build/tls-bench")))
    run.details.update(f)
    ratio = f["tls_mib_s"] / f["plain_mib_s"]
    return [
        ("client: chunks over TLS / plain, its CPU time alone", "%.2f" % ratio, ">= %.2f" % BAR, ratio >= BAR),
        ("client: chunks over TLS, MiB per second of CPU", "%.0f" % f["tls_mib_s"], "", None),
        ("client: one TLS handshake, ms of CPU", "%.1f" % (f["handshake_us"] / 1000), "", None),
        ("client: longest poll of a handshake, ms", "%.2f" % (f["longest_poll_us"] / 1000), "< 1", f["longest_poll_us"] < 1000),
    ]
