"""Redis gone: calls go on, live rooms take joins, new rooms wait."""

import asyncio
import os
import time

import httpx
import pytest
from harness import history, signalling
from harness.fleet import Fleet
from harness.load import Crowd, Watch
from harness.measured import measured
from harness.peer import assert_untouched, pair
from harness.redis import Redis
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until

OUTAGE = float(os.environ.get("E2E_OUTAGE_S", "25"))


async def new_room(fleet: Fleet, gateway: str, room: str) -> httpx.Response:
    """What a client would be told that opens a room."""
    target = signalling.validate_target(token(room, "ann"))
    async with httpx.AsyncClient(timeout=10) as client:
        url = fleet.ws_of(gateway).replace("ws:", "http:")
        return await client.get(f"{url}{target}")


@pytest.mark.timeout(OUTAGE + 200)
async def test_calls_outlive_redis(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=3)
    placed = await fleet.placed({"s1": 1, "s2": 1, "s3": 1})
    peers = [
        peer
        for shard, (room,) in placed.items()
        for peer in await pair(stage, fleet.ws, room, prefix=f"{shard}-", video=False)
    ]
    rooms = [f"crowd-{number}" for number in range(20)]
    # They leave and join all the time: joins to live rooms.
    crowd = Crowd(fleet, rooms, 3, seed=2, life=(3, 9))
    async with crowd, Watch(fleet, crowd.history) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        for peer in peers:
            peer.mark()
        joins = len(crowd.history.stays)
        gone = time.monotonic()
        redis.kill()
        await refused_and_told(fleet)
        while time.monotonic() < gone + OUTAGE:
            await asyncio.sleep(1)
            for gateway in fleet.gateways:
                answer = await new_room(fleet, gateway, f"new-{gateway}-{time.monotonic():.0f}")
                assert answer.status_code == 503, answer.text
                assert answer.headers.get("retry-after"), answer.headers
            for program in (*fleet.gateways.values(), *fleet.shards.values()):
                assert (await program.get("/livez")).status_code == 200
        joins = len(crowd.history.stays) - joins
        assert joins > len(rooms), "no joins to live rooms"
        assert (crowd.breaks(), dict(crowd.history.refusals)) == (0, {})
        await redis.start()
        back = time.monotonic()

        async def opens() -> bool:
            answers = [await new_room(fleet, gateway, "later") for gateway in fleet.gateways]
            return all(answer.status_code == 200 for answer in answers)

        await until("new rooms open again", opens, seconds=30)
        measured(f"new rooms open {time.monotonic() - back:.1f} s after Redis came back, empty")
        await asyncio.gather(*(peer.hears(other_of(peer.identity)) for peer in peers))
    assert_untouched(*peers)
    longest = max(peer.longest_gap() for peer in peers)
    assert longest < 2, f"media stood still for {longest:.1f} s"
    assert crowd.breaks() == 0
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories
    measured(
        f"without Redis for {OUTAGE:.0f} s: {joins} joins to live rooms, 0 refused, "
        f"longest media gap {longest:.2f} s"
    )


async def refused_and_told(fleet: Fleet) -> None:
    """Every gateway says at `/readyz` what is wrong."""
    for gateway in fleet.gateways.values():

        async def tells(gateway: object = gateway) -> bool:
            text = (await gateway.get("/readyz")).text.lower()
            return "redis" in text or "directory" in text

        await until(f"{gateway.name} says that its directory is gone", tells, seconds=15)


def other_of(identity: str) -> str:
    shard, _, name = identity.partition("-")
    return f"{shard}-{'bob' if name == 'ann' else 'ann'}"


async def test_a_paused_redis_is_a_lost_one(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
    crowd = Crowd(fleet, [f"crowd-{number}" for number in range(10)], 2, seed=3, life=(3, 9))
    async with crowd, Watch(fleet, crowd.history) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        redis.pause()
        await asyncio.sleep(8)
        redis.resume()
        await fleet.settled()
        await asyncio.sleep(2)
    assert (crowd.breaks(), dict(crowd.history.refusals)) == (0, {})
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories
