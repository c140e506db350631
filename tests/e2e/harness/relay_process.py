"""Relays in a process of their own: a busy test must not slow down the links of the programs, whose
leases are short. The test orders by lines of JSON on standard input; each is answered by a line.

Run as a program it is that process.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from types import TracebackType

from harness.relay import Relay

_SETPRIV = shutil.which("setpriv")
_ORDERS = ("cut", "refuse", "silence", "heal")


class RelayProcess:
    """The process, from the test's side."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._count = 0
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> "RelayProcess":
        guard = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []
        self._process = await asyncio.create_subprocess_exec(
            *guard,
            *(sys.executable, "-m", "harness.relay_process"),
            cwd=Path(__file__).resolve().parents[1],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def relay(self, *targets: str, host: str = "127.0.0.1") -> "Link":
        """A new relay in there."""
        self._count += 1
        answer = await self.order({"open": self._count, "targets": targets, "host": host})
        return Link(self, self._count, answer)

    async def order(self, order: dict) -> str:
        """One order, and its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._writing:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            answer = await asyncio.wait_for(self._process.stdout.readline(), 20)
        assert answer, "the relays' process has ended"
        return json.loads(answer)


class Link:
    """One of its relays."""

    def __init__(self, process: RelayProcess, number: int, address: str) -> None:
        self._process = process
        self._number = number
        self.address = address

    async def cut(self) -> None:
        """Resets every connection; new ones are welcome."""
        await self._process.order({"cut": self._number})

    async def refuse(self) -> None:
        """Resets every connection and all that follow."""
        await self._process.order({"refuse": self._number})

    async def silence(self) -> None:
        """Nothing passes any more in either direction, and nobody is told."""
        await self._process.order({"silence": self._number})

    async def heal(self) -> None:
        """Passes everything again."""
        await self._process.order({"heal": self._number})


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    relays: dict[int, Relay] = {}
    while line := await orders.readline():
        order = json.loads(line)
        answer: object = None
        if "open" in order:
            relay = Relay(*order["targets"], host=order["host"])
            await relay.__aenter__()
            relays[order["open"]] = relay
            answer = relay.address
        for name in _ORDERS:
            if name in order:
                getattr(relays[order[name]], name)()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
