"""Secure Boot keys of one's own in OVMF's variable store, before the first power-on.

OVMF keeps its variables in a flash file: a firmware volume with a store of authenticated variables, one after
the other, all ones where nothing was written yet. A PC vendor or an admin enrols keys in the firmware's setup;
here PK, KEK and db are written where the firmware would have written them, and with a PK it starts in user mode,
Secure Boot on. [UEFI 2.10 §32.4.1; EDK2 MdeModulePkg/Include/Guid/VariableFormat.h]
"""

import struct
import subprocess
import uuid

AUTHENTICATED = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le
SECURITY = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f").bytes_le
X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072").bytes_le
OWNER = uuid.UUID("5a0b1b9e-7c0e-4c0f-9a43-3f2e6a3f8d11").bytes_le
ATTRIBUTES = 0x27  # non-volatile, boot and run time, time-based authentication
ADDED = 0x3f
WHEN = struct.pack("<HBBBBBBIhBB", 2024, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)


def signature_list(der):
    return X509 + struct.pack("<III", 28 + 16 + len(der), 0, 16 + len(der)) + OWNER + der


def variable(name, guid, data):
    text = (name + "\0").encode("utf-16-le")
    head = struct.pack("<HBBIQ", 0x55AA, ADDED, 0, ATTRIBUTES, 0) + WHEN + struct.pack("<III", 0, len(text), len(data)) + guid
    assert len(head) == 60
    return (head + text + data).ljust((60 + len(text) + len(data) + 3) // 4 * 4, b"\xff")


def enrol(template, out, certificate):
    """Copy the variable store @template to @out, with the PEM @certificate as PK, KEK and db."""
    der = subprocess.run(["openssl", "x509", "-in", str(certificate), "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout
    with open(template, "rb") as f:
        flash = bytearray(f.read())
    at = flash.index(AUTHENTICATED)
    size = struct.unpack_from("<I", flash, at + 16)[0]
    first = (at + 28 + 3) // 4 * 4
    data = b"".join(variable(n, g, signature_list(der)) for n, g in (("PK", GLOBAL), ("KEK", GLOBAL), ("db", SECURITY)))
    assert first + len(data) < at + size
    assert flash[first:first + len(data)] == b"\xff" * len(data), "the store is not empty"
    flash[first:first + len(data)] = data
    with open(out, "wb") as f:
        f.write(flash)
