"""The relays of `impair.py` in a process of their own: a busy test must not add to what they do.

Run as a program it is that process.
"""

import asyncio
from dataclasses import asdict

from harness.helper import Helper, serve
from harness.impair import CLEAN, Counters, Impairment, UdpRelay


class ImpairProcess(Helper):
    """The process, from the test's side."""

    module = "harness.impair_process"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def relay(self, target: str, *, seed: int, host: str = "127.0.0.1") -> "BadNetwork":
        """A new relay in there, in front of a node's UDP address."""
        self._count += 1
        number = self._count
        address = await self.order({"open": number, "target": target, "seed": seed, "host": host})
        return BadNetwork(self, number, str(address))


class BadNetwork:
    """One of its relays."""

    def __init__(self, process: ImpairProcess, number: int, address: str) -> None:
        self._process = process
        self._number = number
        self.address = address

    async def admit(self, line: str) -> None:
        """Client addresses that show up from now on are on this line."""
        await self._process.order({"admit": self._number, "line": line})

    async def impair(self, line: str, *, up: Impairment = CLEAN, down: Impairment = CLEAN) -> None:
        """What the line does from now on."""
        order = {"impair": self._number, "line": line, "up": asdict(up), "down": asdict(down)}
        await self._process.order(order)

    async def counters(self, line: str) -> tuple[Counters, Counters]:
        """Of the line so far, up and down."""
        up, down = await self._process.order({"counters": self._number, "line": line})
        return Counters(**up), Counters(**down)


class _Host:
    def __init__(self) -> None:
        self._relays: dict[int, UdpRelay] = {}

    async def obey(self, order: dict) -> object:
        if "open" in order:
            relay = UdpRelay(order["target"], seed=order["seed"], host=order["host"])
            await relay.__aenter__()
            self._relays[order["open"]] = relay
            return relay.address
        if "admit" in order:
            self._relays[order["admit"]].admit(order["line"])
            return None
        if "impair" in order:
            line = self._relays[order["impair"]].line(order["line"])
            line.up.impairment = Impairment(**order["up"])
            line.down.impairment = Impairment(**order["down"])
            return None
        line = self._relays[order["counters"]].line(order["line"])
        return asdict(line.up.counters), asdict(line.down.counters)


if __name__ == "__main__":
    asyncio.run(serve(_Host().obey))
