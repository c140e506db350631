#!/usr/bin/env python3
"""How long it takes after `kill -9` of a shard until people see and hear each other again.

Two shards over a Redis, one room with native clients and one with browsers. Again and again the
shard that has both is killed, and started when all are on the other one. Prints a table; numbers
depend on the machine. Run it with `make bench-rehome`.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "e2e"))
os.environ.setdefault("ANTEROOM", str(_HERE.parent / "target/release/anteroom"))

from harness.browser import Chromium, Page  # noqa: E402
from harness.fleet import Fleet  # noqa: E402
from harness.history import quantile  # noqa: E402
from harness.peer import Peer  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.stage import Stage  # noqa: E402
from harness.wait import until  # noqa: E402

AIMS = {"p50": 5.0, "p99": 9.0}
# Shorter gaps are the machine's.
_GAP = 1.0


class Bench:
    """The people and what was measured of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.natives: list[Peer] = []
        self.pages: list[Page] = []
        self.seconds: dict[str, list[float]] = {"native": [], "Chromium": []}

    async def run(self, number: int) -> None:
        """One kill."""
        rooms = await self.fleet.admin.rooms()
        shard = rooms["natives"]["shard"]
        for peer in self.natives:
            peer.mark()
        await asyncio.gather(*(page.mark() for page in self.pages))
        killed = time.monotonic()
        self.fleet.shards[shard].kill()
        await until("all are back", lambda: self._all_back(killed), seconds=60, every=0.2)
        natives = [max(g.ended for g in peer.gaps.values()) - killed for peer in self.natives]
        pages = [max(end for _, end in (await page.gaps()).values()) for page in self.pages]
        self.seconds["native"] += natives
        self.seconds["Chromium"] += pages
        told = ", ".join(f"{seconds:.2f}" for seconds in natives)
        print(f"kill {number}: native {told} s; Chromium {', '.join(f'{s:.2f}' for s in pages)} s")
        self.fleet.shards[shard].start()
        await self.fleet.settled()
        await asyncio.sleep(1)

    async def _all_back(self, killed: float) -> bool:
        for peer in self.natives:
            streams = [what for what in peer.gaps if what.split()[1] != peer.identity]
            gaps = [peer.gaps[what] for what in streams]
            if len(gaps) < 2 or any(gap.longest < _GAP or _stale(gap.last) for gap in gaps):
                return False
        for page in self.pages:
            gaps = await page.gaps()
            if not gaps or any(longest < _GAP for longest, _ in gaps.values()):
                return False
        return time.monotonic() > killed + 2

    def table(self) -> str:
        lines = [f"{'client':10} {'n':>4} {'p50 s':>7} {'p99 s':>7} {'max s':>7}"]
        for client, seconds in self.seconds.items():
            p50, p99 = quantile(seconds, 0.5), quantile(seconds, 0.99)
            worst = max(seconds, default=float("nan"))
            lines.append(f"{client:10} {len(seconds):>4} {p50:>7.2f} {p99:>7.2f} {worst:>7.2f}")
        aims = ", ".join(f"{name} {aim:g} s" for name, aim in AIMS.items())
        return "\n".join([*lines, f"aims: {aims}"])


def _stale(moment: float) -> bool:
    return time.monotonic() - moment > 1.5


async def measure(runs: int) -> Bench:
    chromium = Chromium()
    with tempfile.TemporaryDirectory(prefix="anteroom-bench-") as folder:
        stage = Stage(Path(folder), chromium)
        try:
            redis = await stage.enter(Redis(stage.folder))
            bench = Bench(await stage.fleet(redis=redis, gateways=2, shards=2))
            fleet = bench.fleet
            # All on one shard, wherever the ring puts them.
            await fleet.drain("s2", deadline_s=600)
            await asyncio.sleep(1)
            for name in ("ann", "bob"):
                bench.natives.append(await stage.peer(fleet.ws, "natives", name))
            for name in ("Ada", "Bob"):
                url = f"{fleet.http}/pages?autojoin=1&name={name}&audio=1&video=1"
                bench.pages.append(await stage.page(url))
            for one, other in zip(bench.natives, reversed(bench.natives), strict=True):
                await asyncio.gather(one.sees(other.identity), one.hears(other.identity))
            for page in bench.pages:
                await page.observe()
                await page.sees()
            await fleet.undrain("s2")
            await asyncio.sleep(1)
            for number in range(1, runs + 1):
                await bench.run(number)
            return bench
        finally:
            await stage.close()
            await chromium.close()


def main() -> int:
    """Prints the runs and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    print(asyncio.run(measure(parser.parse_args().runs)).table())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
