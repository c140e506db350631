"""A network namespace for one process, joined to the machine by a cable that a test can pull."""

import os
import shutil
import subprocess
from types import TracebackType

# A wrong neighbour: frames to it are lost without a word, as on a dead link.
_NOBODY = "02:00:00:00:00:99"


def unavailable() -> str | None:
    """Why there can be no namespace here; `None` if there can."""
    if not shutil.which("ip"):
        return "`ip` (iproute2) is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"ant-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"`ip netns add` failed: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=False)
    return None


class Namespace:
    """A namespace and its cable. The addresses are of RFC 5735's range for tests (198.18.0.0/15)."""

    _count = 0

    def __init__(self) -> None:
        Namespace._count += 1
        number = (os.getpid() * 7 + Namespace._count) % 250
        self.name = f"ant-{os.getpid()}-{Namespace._count}"
        self._cable = f"va{os.getpid() % 100_000}x{Namespace._count}"
        self.outside = f"198.18.{number}.1"
        self.inside = f"198.18.{number}.2"

    @property
    def before(self) -> tuple[str, ...]:
        """The command that runs a program inside."""
        return ("ip", "netns", "exec", self.name)

    async def __aenter__(self) -> "Namespace":
        _ip("netns", "add", self.name)
        peer = f"{self._cable}p"
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", peer)
        _ip("link", "set", peer, "netns", self.name, "name", "eth0")
        _ip("address", "add", f"{self.outside}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        self._inside("address", "add", f"{self.inside}/30", "dev", "eth0")
        self._inside("link", "set", "lo", "up")
        self._inside("link", "set", "eth0", "up")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Takes the cable with it.
        _ip("netns", "delete", self.name, check=False)
        _ip("link", "delete", self._cable, check=False)

    def cut(self, *, inbound: bool = True, outbound: bool = True) -> None:
        """Everything that enters, or leaves, is lost silently."""
        if inbound:
            entry = (self.inside, "lladdr", _NOBODY, "dev", self._cable, "nud", "permanent")
            _ip("neigh", "replace", *entry)
        if outbound:
            entry = (self.outside, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
            self._inside("neigh", "replace", *entry)

    def heal(self) -> None:
        """The cable is whole again."""
        _ip("neigh", "delete", self.inside, "dev", self._cable, check=False)
        self._inside("neigh", "delete", self.outside, "dev", "eth0", check=False)

    def _inside(self, *arguments: str, check: bool = True) -> None:
        _ip("-n", self.name, *arguments, check=check)


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
