#!/usr/bin/env python3
"""How long it takes after `kill -9` of a shard until people see and hear each other again.

Two shards over a Redis, and a room of two native clients with sound and picture and two browsers with
sound (the fake camera of Chromium does not survive many restarts). Again and again the room's shard
is killed, and started when all are on the other one. "Back" is when the last stream of a native client
plays again. Prints a table; numbers depend on the machine. Run it with `make bench-rehome`.
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
from harness.peer import Gap, Peer  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.stage import Stage  # noqa: E402
from harness.wait import until  # noqa: E402

AIMS = {"p50": 5.0, "p99": 9.0}
ROOM = "bench"
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
        shard = rooms[ROOM]["shard"]
        for peer in self.natives:
            peer.mark()
        await asyncio.gather(*(page.mark() for page in self.pages))
        killed = time.monotonic()
        self.fleet.shards[shard].kill()
        await until("all are back", lambda: self._all_back(killed), seconds=60, every=0.2)
        natives = [
            max(gap.ended for gap in self._of_natives(peer)) - killed for peer in self.natives
        ]
        pages = [max(end for _, end in (await page.gaps()).values()) for page in self.pages]
        self.seconds["native"] += natives
        self.seconds["Chromium"] += pages
        told = ", ".join(f"{seconds:.2f}" for seconds in natives)
        print(f"kill {number}: native {told} s; Chromium {', '.join(f'{s:.2f}' for s in pages)} s")
        self.fleet.shards[shard].start()
        await self.fleet.settled()
        await asyncio.sleep(1)

    def _of_natives(self, peer: Peer) -> list[Gap]:
        (other,) = (one.identity for one in self.natives if one is not peer)
        return [peer.gaps[f"{kind} {other}"] for kind in ("audio", "video")]

    async def _all_back(self, killed: float) -> bool:
        for peer in self.natives:
            if any(gap.longest < _GAP or _stale(gap.last) for gap in self._of_natives(peer)):
                return False
        for page in self.pages:
            gaps = await page.gaps()
            if len(gaps) < 2 or any(longest < _GAP for longest, _ in gaps.values()):
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
            for name in ("ann", "bob"):
                bench.natives.append(await stage.peer(fleet.ws, ROOM, name))
            for name in ("Ada", "Bob"):
                url = f"{fleet.http}/{ROOM}?autojoin=1&name={name}&audio=1&video=0"
                bench.pages.append(await stage.page(url))
            for one, other in zip(bench.natives, reversed(bench.natives), strict=True):
                await asyncio.gather(one.sees(other.identity), one.hears(other.identity))
            for page in bench.pages:
                await page.observe()
                await asyncio.gather(page.sees("ann"), page.sees("bob"))
            for number in range(1, runs + 1):
                await bench.run(number)
            return bench
        except AssertionError:
            for title, text in stage.report():
                print(f"--- {title}\n{text}", file=sys.stderr)
            raise
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
