"""Free ports below the range that the kernel hands out, so that no client socket takes one between
the check and the use."""

import random
import socket

_FIRST, _LAST = 20_000, 32_000
_given: set[int] = set()
_random = random.SystemRandom()


def free_port() -> int:
    """A port that is free for TCP and UDP, on loopback and on all addresses. Never given twice."""
    for _ in range(1000):
        port = _random.randrange(_FIRST, _LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for host in ("127.0.0.1", "0.0.0.0"):
            with socket.socket(socket.AF_INET, kind) as probe:
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True
