#!/usr/bin/env python3
"""How long media stands still when a drain moves a room to another shard, for rooms of several sizes.

One participant is a browser, some are native clients with media (the first of them simulcasting), and
the rest are native clients that neither send nor receive media: the machine is small. The room goes from shard to shard and back. Prints a table of the longest
silence of each stream in each move; numbers depend on the machine. Run it with
`make bench-migration`.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE / "e2e"))
os.environ.setdefault("ANTEROOM", str(_HERE.parent / "target/release/anteroom"))

from harness.browser import Chromium, Page  # noqa: E402
from harness.fleet import Fleet  # noqa: E402
from harness.history import quantile  # noqa: E402
from harness.peer_process import PeerProcess, RemotePeer  # noqa: E402
from harness.program import participants  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.stage import Stage  # noqa: E402
from harness.wait import until  # noqa: E402

AIMS = "aims for media: p50 0.5 s, p99 1.5 s"
# People in the room, and how many of them are native clients with media.
SIZES = {2: 1, 8: 2, 30: 2}
# The client library's own work per event grows with the participants of a process.
SILENT_A_PROCESS = 5
# Of the native cameras: a gap is measured as finely as their frames come.
FPS = 24
# A gap that is worth a line of its own, seconds.
LONG = 1.0
# Between two reliable packets of each of the two who talk, seconds.
PAUSE = 0.1


@dataclass
class Room:
    """A room that moves."""

    name: str
    people: int
    natives: list[RemotePeer] = field(default_factory=list)
    page: Page | None = None
    ada: str = ""
    silent: list[RemotePeer] = field(default_factory=list)
    gaps: dict[str, list[float]] = field(default_factory=dict)

    def add(self, kind: str, seconds: float, stream: str = "") -> None:
        self.gaps.setdefault(kind, []).append(seconds)
        if stream and seconds > LONG:
            print(f"room of {self.people}: {seconds:.2f} s without {kind}: {stream}", flush=True)


async def move(fleet: Fleet, room: Room) -> None:
    """One drain, and back to rest."""
    source = (await fleet.admin.rooms())[room.name]["shard"]
    # In this order: what the page's camera did while the page was asked is not the move's.
    await room.page.mark()
    await asyncio.gather(*(peer.call("mark") for peer in room.natives))
    resumes = [len(await peer.happened("reconnected")) for peer in room.silent]
    began = time.monotonic()
    await fleet.drain(source)

    found: dict | None = None

    async def moved() -> bool:
        nonlocal found
        found = (await fleet.admin.rooms()).get(room.name)
        return bool(found) and found["shard"] != source and participants(found) == room.people

    await until(f"{room.name} is elsewhere", moved, seconds=30, state=lambda: found)
    room.add("until all had resumed", time.monotonic() - began)
    await asyncio.sleep(3)
    for peer in room.natives:
        for what, gap in (await peer.gaps()).items():
            kind, who = what.split()
            # A browser's fake microphone beeps now and then: only its camera shows gaps.
            if (kind, who) == ("audio", room.ada):
                continue
            open_end = time.monotonic() - gap.last
            longest = max(gap.longest, open_end if open_end > 1 else 0)
            room.add(
                f"{kind}, native",
                longest,
                f"{who} at {peer.identity}, until +{gap.ended - began:.2f} s",
            )
    for who, (longest, ended) in (await room.page.gaps()).items():
        room.add("video, Chromium", longest, f"{who} at the page, until +{ended:.2f} s")
    for peer, before in zip(room.silent, resumes, strict=True):
        await add_resume(room, peer, before)
    await fleet.undrain(source)
    await until("all say that they are back", lambda: all_back(room), seconds=30)
    await asyncio.sleep(1)


async def all_back(room: Room) -> bool:
    """A client that is told to move again while it still resumes begins anew."""
    for peer in (*room.natives, *room.silent):
        noticed, back = await peer.happened("reconnecting"), await peer.happened("reconnected")
        if len(noticed) != len(back):
            return False
    return True


async def add_resume(room: Room, peer: RemotePeer, before: int) -> None:
    """How long a native client took to resume, by its own word."""
    noticed, back = await peer.happened("reconnecting"), await peer.happened("reconnected")
    if len(noticed) == len(back) == before + 1:
        room.add("resume, native", back[-1][0] - noticed[-1][0])


async def measure(people: int, moves: int) -> Room:
    chromium = Chromium()
    with tempfile.TemporaryDirectory(prefix="anteroom-bench-") as folder:
        stage = Stage(Path(folder), chromium)
        try:
            redis = await stage.enter(Redis(stage.folder))
            fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
            room = Room(f"room-of-{people}", people)
            await fill(stage, fleet, room)
            for _ in range(moves):
                await move(fleet, room)
            await finish(room)
            return room
        except AssertionError:
            for title, text in stage.report():
                print(f"--- {title}\n{text}", file=sys.stderr)
            raise
        finally:
            await stage.close()
            await chromium.close()


async def fill(stage: Stage, fleet: Fleet, room: Room) -> None:
    """Everybody is in and has media."""
    for number in range(SIZES[room.people]):
        options = {"simulcast": number == 0, "fps": FPS}
        process = await stage.enter(PeerProcess())
        room.natives.append(
            await process.peer(fleet.ws, room.name, f"native-{number}", single=True, **options)
        )
    url = f"{fleet.http}/{room.name}?autojoin=1&name=Ada&audio=1&video=1&single=1"
    room.page = await stage.page(url)
    room.ada = await room.page.identity()
    await room.page.observe()
    for number in range(room.people - len(room.natives) - 1):
        options = {"single": True, "subscribe": False, "audio": False, "video": False}
        if number % SILENT_A_PROCESS == 0:
            process = await stage.enter(PeerProcess())
        room.silent.append(await process.peer(fleet.ws, room.name, f"silent-{number}", **options))
    for peer in room.natives:
        others = [one.identity for one in room.natives if one is not peer]
        await peer.call("hears", *others, room.ada)
    await room.page.sees("native-0")
    await room.natives[0].call("talk", pause=PAUSE)
    await room.page.talk(pause=PAUSE)


async def finish(room: Room) -> None:
    """Data is complete, and nobody saw anybody leave."""
    by_native, by_page = await room.natives[0].call("hush"), await room.page.hush()
    listeners = [*room.natives, *room.silent]
    heard: dict[str, list[int]] = {}

    async def complete() -> bool:
        for peer in listeners:
            heard[peer.identity] = await peer.call("numbers_of", room.ada)
        everywhere = all(len(numbers) >= by_page for numbers in heard.values())
        return everywhere and len(await room.page.data()) >= by_native

    def missing() -> dict[str, list[int]]:
        wanted = set(range(by_page))
        gone = {who: sorted(wanted - set(numbers))[:20] for who, numbers in heard.items()}
        return {who: numbers for who, numbers in gone.items() if numbers}

    try:
        await until("all data has come", complete, seconds=15, state=lambda: (by_native, missing()))
        await left(room, listeners)
    except AssertionError:
        for peer in listeners:
            print(f"--- peer {peer.identity}\n{await peer.call('story')}", file=sys.stderr)
        raise
    assert all(numbers == list(range(by_page)) for numbers in heard.values()), heard
    numbers = [int(text) for _, text in await room.page.data()]
    assert numbers == list(range(by_native))
    print(f"room of {room.people}: {by_native} and {by_page} packets, complete", flush=True)


async def left(room: Room, listeners: list[RemotePeer]) -> None:
    """Fails if anybody saw anybody leave."""
    seen = {
        peer.identity: await peer.happened("participant_disconnected", "track_unsubscribed")
        for peer in listeners
    }
    assert room.page
    seen[room.ada] = await room.page.happened("participantDisconnected", "trackUnsubscribed")
    seen = {who: events for who, events in seen.items() if events}
    assert not seen, f"somebody was seen to leave: {seen}"


def table(rooms: list[Room]) -> str:
    lines = [f"{'room of':>7} {'what':24} {'n':>5} {'p50 s':>7} {'p99 s':>7} {'max s':>7}"]
    for room in rooms:
        for kind, gaps in sorted(room.gaps.items()):
            p50, p99 = quantile(gaps, 0.5), quantile(gaps, 0.99)
            lines.append(
                f"{room.people:>7} {kind:24} {len(gaps):>5} {p50:>7.2f} {p99:>7.2f} {max(gaps):>7.2f}"
            )
        lines.append(f"{room.people:>7} nobody was seen to leave; reliable data complete, in order")
    return "\n".join([*lines, AIMS])


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=6)
    parser.add_argument("--sizes", default="2,8,30")
    given = parser.parse_args()
    rooms = []
    for people in map(int, given.sizes.split(",")):
        rooms.append(asyncio.run(measure(people, given.moves)))
        print(table(rooms[-1:]), flush=True)
    print(table(rooms))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
