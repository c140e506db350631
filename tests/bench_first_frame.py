#!/usr/bin/env python3
"""How long it takes from loading a meeting page to the first rendered frame of the other side.

Starts `anteroom up`, puts a native participant with a small picture into a room, then loads the
page in a fresh Chromium profile, again and again. Prints a line per run and the median, and writes
target/bench/first-frame.json. Not a test: numbers depend on the machine. Run it with `make bench`.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "e2e")]
os.environ.setdefault("ANTEROOM", str(_HERE.parent / "target/release/anteroom"))

from harness.browser import Chromium  # noqa: E402
from harness.stage import Stage  # noqa: E402
from harness.wait import until  # noqa: E402

from benches.rows import Rows, machine, write  # noqa: E402

AIM = 2.0
OUTPUT = _HERE.parent / "target/bench/first-frame.json"


async def measure(runs: int) -> tuple[float, list[float]]:
    """Seconds until `up` was ready, and from the start of the navigation to the first remote frame,
    once per run."""
    chromium = Chromium()
    with tempfile.TemporaryDirectory(prefix="anteroom-bench-") as folder:
        stage = Stage(Path(folder), chromium)
        try:
            up = await stage.up()
            ready = time.monotonic() - up.program.started
            print(f"up: ready {ready:.2f} s after its start")
            await stage.peer(up.ws, "bench", "bob")
            frames = [
                await first_frame(stage, f"{up.http}/bench", run) for run in range(1, runs + 1)
            ]
            return ready, frames
        finally:
            await stage.close()
            await chromium.close()


async def first_frame(stage: Stage, url: str, run: int) -> float:
    """One page, from load to frame."""
    page = await stage.page(f"{url}?autojoin=1&name=Ada{run}&audio=1&video=1")

    async def rendered() -> float | None:
        return (await page.stats())["timing"]["firstFrameMs"]

    seconds = await until("a frame of the other side is rendered", rendered) / 1000
    print(f"run {run}: first remote frame {seconds:.2f} s after the page load began")
    await page.close()
    return seconds


def main() -> int:
    """Prints the runs and the median."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    where = machine()
    ready, seconds = asyncio.run(measure(arguments.parse_args().runs))
    rows = Rows("anteroom")
    rows.keep("anteroom", "up-ready", "s", ready, "", 0.0)
    for value in seconds:
        rows.keep("anteroom", "first-frame", "s", value, "", 0.0)
    median = statistics.median(seconds)
    print(
        f"median {median:.2f} s of {len(seconds)} runs (aim below {AIM:.0f} s), "
        f"worst {max(seconds):.2f} s"
    )
    write(OUTPUT, {"machine": where, "versions": {}, "rows": rows.to_json(), "ratios": {}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
