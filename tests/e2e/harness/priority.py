"""Clients must not starve the servers that they test.

The native client library and browsers ask for real-time priorities for their media threads: on a
user's machine that is in vain, or they have a core to themselves. Run as root, as in a container, they
get them, and a few of them keep everything else on the machine waiting for seconds: leases end.
"""

import ctypes

_CAP_SYS_NICE = 23
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def forgo_real_time() -> None:
    """Gives up the right to raise priorities (capabilities(7), CAP_SYS_NICE), for this thread, and for
    all threads and processes that it starts from now on. Without that right nothing happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        return
    keep = ~(1 << _CAP_SYS_NICE) & 0xFFFF_FFFF
    data[0].effective &= keep
    data[0].permitted &= keep
    data[0].inheritable &= keep
    libc.capset(ctypes.byref(header), data)
