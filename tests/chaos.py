#!/usr/bin/env python3
"""Real processes, real clients, one trouble after the other: `make chaos`.

Two gateways, three shards, a Redis (or, with --sentinels, a master with a replica that Sentinels
promote). Prints a table; ends with 1 if a room was live on two shards, a join was accepted twice, an
epoch fell, the ghost counter was not 0, or somebody did not come back. The same seed gives the same
order of troubles, not the same schedule of the machine.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "e2e"))
os.environ.setdefault("ANTEROOM_LOG", "info")

from harness.chaos import Plan, in_folder  # noqa: E402


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--rooms", type=int, default=80)
    parser.add_argument("--each", type=int, default=3, help="participants in a room")
    parser.add_argument("--peers", type=int, default=2, help="pairs of native clients with media")
    parser.add_argument("--browsers", type=int, default=1, help="pairs of browsers with media")
    parser.add_argument("--sentinels", action="store_true", help="fail-over instead of one Redis")
    parser.add_argument("--only", default="", help="kinds of trouble by name, with commas")
    parser.add_argument("--outage-s", type=float, help="how long every outage lasts")
    parser.add_argument("--keep", type=Path, help="folder for logs and the history")
    return parser.parse_args()


def main() -> int:
    """Prints what happens and the table."""
    given = _arguments()
    seed = int.from_bytes(os.urandom(3)) if given.seed is None else given.seed
    only = tuple(filter(None, given.only.split(",")))
    plan = Plan(
        minutes=given.minutes,
        seed=seed,
        rooms=given.rooms,
        each=given.each,
        peers=given.peers,
        browsers=given.browsers,
        sentinels=given.sentinels,
        troubles=only * 500,
        outage=(given.outage_s, given.outage_s) if given.outage_s else (1.0, 8.0),
    )
    print(f"chaos: {given.minutes:g} minutes, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="anteroom-chaos-") as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(in_folder(plan, folder, lambda line: print(line, flush=True)))
    print(outcome.table())
    print(f"chaos: {'FAILED' if outcome.failed else 'passed'}, seed {seed}")
    return int(outcome.failed)


if __name__ == "__main__":
    raise SystemExit(main())
