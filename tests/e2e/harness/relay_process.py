"""Relays in a process of their own: a busy test must not slow down the links of the programs, whose
leases are short.

Run as a program it is that process.
"""

import asyncio

from harness.helper import Helper, serve
from harness.relay import Relay

_ORDERS = ("cut", "refuse", "silence", "heal")


class RelayProcess(Helper):
    """The process, from the test's side."""

    module = "harness.relay_process"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def relay(self, *targets: str, host: str = "127.0.0.1") -> "Link":
        """A new relay in there."""
        self._count += 1
        number = self._count
        address = await self.order({"open": number, "targets": targets, "host": host})
        return Link(self, number, str(address))


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


class _Host:
    def __init__(self) -> None:
        self._relays: dict[int, Relay] = {}

    async def obey(self, order: dict) -> object:
        if "open" in order:
            relay = Relay(*order["targets"], host=order["host"])
            await relay.__aenter__()
            self._relays[order["open"]] = relay
            return relay.address
        for name in _ORDERS:
            if name in order:
                getattr(self._relays[order[name]], name)()
        return None


if __name__ == "__main__":
    asyncio.run(serve(_Host().obey))
