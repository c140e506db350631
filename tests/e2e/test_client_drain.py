"""Our own client library stays in a room that a drain moves to another shard."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from harness.fleet import Fleet
from harness.guard import guarded
from harness.measured import measured
from harness.program import BINARY, participants
from harness.redis import Redis
from harness.stage import Stage
from harness.tokens import KEY, SECRET
from harness.wait import until

GUESTS = BINARY.parent / "examples" / "guests"
# What a migration may interrupt: the aim at the 99th percentile, and a slow machine.
GAP_MAX_MS = 1500 + 2000


class Guests:
    """Participants of `client/examples/guests.rs`, and the lines that they say."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[str] = []
        self._process = process

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())

    def story(self) -> str:
        return "\n".join(line for line in self.lines if " data " not in line)

    def said(self, pattern: str) -> list[re.Match[str]]:
        found = (re.fullmatch(pattern, line) for line in self.lines)
        return [match for match in found if match]


@asynccontextmanager
async def guests(url: str, room: str, *names: str) -> AsyncIterator[Guests]:
    if not GUESTS.exists():
        pytest.skip(f"{GUESTS} is missing: cargo build -p client --example guests")
    process = await asyncio.create_subprocess_exec(
        *guarded(str(GUESTS), url, room, *names),
        env={**os.environ, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    them = Guests(process)
    listener = asyncio.create_task(them.listen())
    try:
        yield them
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listener


async def is_on(fleet: Fleet, room: str, shard: str) -> None:
    async def there() -> bool:
        found = (await fleet.admin.rooms()).get(room)
        return bool(found) and found["shard"] == shard and participants(found) == 2

    await until(f"{room} is on {shard}", there, seconds=20)


async def test_clients_resume_on_the_shard_that_a_drain_moves_their_room_to(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
    ((room,),) = (await fleet.placed({"s1": 1})).values()
    async with guests(fleet.ws, room, "ann", "bob") as them:

        def meets() -> bool:
            return len(them.said(r"\w+ sees \w+ (Audio|Video)")) == 4 and all(
                them.said(f"{one} data {other} 5")
                for one, other in (("ann", "bob"), ("bob", "ann"))
            )

        await until("they see and write to each other", meets, seconds=20, state=them.story)
        for times, (source, target) in enumerate((("s1", "s2"), ("s2", "s1")), start=1):
            await fleet.drain(source)
            await is_on(fleet, room, target)

            def resumed(times: int = times) -> bool:
                return (
                    len(them.said(r"ann resumed \d+"))
                    == len(them.said(r"bob resumed \d+"))
                    == times
                )

            await until("both have resumed", resumed, seconds=20, state=them.story)
            await fleet.undrain(source)
            # Words go on, both ways.
            heard = {who: len(them.said(f"{who} data .*")) for who in ("ann", "bob")}

            def goes_on(heard: dict[str, int] = heard) -> bool:
                return all(
                    len(them.said(f"{who} data .*")) > count + 10 for who, count in heard.items()
                )

            await until("both read on", goes_on, seconds=20, state=them.story)
        gone = them.said(r"\w+ (lost|left|ended) .*")
        assert not gone, them.story()
        for one, other in (("ann", "bob"), ("bob", "ann")):
            numbers = [int(match[1]) for match in them.said(rf"{one} data {other} (\d+)")]
            # What was said before it joined is not for it; of the rest nothing is missing.
            first = numbers[0]
            assert numbers == list(range(first, first + len(numbers))), f"{one}: {numbers}"
        gaps = [int(match[1]) for match in them.said(r"\w+ gap (\d+) .*")]
        measured(f"longest media gaps of our clients in two migrations, ms: {sorted(gaps)[-4:]}")
        assert max(gaps, default=0) <= GAP_MAX_MS, them.story()
