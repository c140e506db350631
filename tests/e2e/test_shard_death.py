"""`kill -9` of a shard: the clients come back by themselves, on another shard, with media."""

import asyncio
import time

from harness.browser import Page
from harness.measured import measured
from harness.peer import Peer, assert_untouched, pair
from harness.program import participants
from harness.stage import Stage
from harness.wait import until

# The aim at the 99th percentile is 9 s (`make bench-rehome`); the rest is for a slow machine.
BACK_WITHIN = 9 + 6


async def test_participants_return_on_the_other_shard_after_kill_9(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1, "s2": 1})
    placed = await cluster.placed({"s1": 1, "s2": 1})
    (room,), (elsewhere,) = placed["s1"], placed["s2"]
    bystanders = await pair(stage, cluster.ws, elsewhere, prefix="other-", video=False)
    ann, bob = await pair(stage, cluster.ws, room)
    page = await stage.page(f"{cluster.http}/{room}?autojoin=1&name=Ada&audio=1&video=1")
    await page.sees("ann")
    await ann.hears(*(who for who in ann.room.remote_participants))
    assert await cluster.admin.shard_of(room) == "s1"
    epoch = (await cluster.admin.rooms())[room]["epoch"]
    for peer in (ann, bob):
        peer.mark()

    killed = time.monotonic()
    cluster.shards["s1"].kill()

    async def rehomed() -> bool:
        found = (await cluster.admin.rooms()).get(room)
        return bool(found) and found["shard"] == "s2" and participants(found) == 3

    await asyncio.gather(
        native_is_back(ann, "bob", killed),
        native_is_back(bob, "ann", killed),
        page_is_back(page, killed),
        until("the room is on the other shard with all three", rehomed, seconds=BACK_WITHIN),
    )
    found = (await cluster.admin.rooms())[room]
    assert (found["shard"], participants(found)) == ("s2", 3)
    assert found["epoch"] > epoch, "a new owner has a new epoch"
    for peer in (ann, bob):
        measured(f"longest media gap of {peer.identity} after kill -9: {peer.longest_gap():.1f} s")
    assert_untouched(*bystanders)


async def native_is_back(peer: Peer, other: str, killed: float) -> None:
    """Waits until the native client is connected again and has media from the other one."""
    await until(
        f"{peer.identity} has noticed and is connected again",
        lambda: peer.happened("reconnected") and peer.connected(),
        seconds=BACK_WITHIN,
        state=peer.story,
    )
    await peer.sees(other, seconds=BACK_WITHIN)
    await peer.hears(other, seconds=BACK_WITHIN)
    assert not peer.happened("disconnected"), peer.story()
    took = time.monotonic() - killed
    measured(f"{peer.identity} (native) is back with media {took:.1f} s after kill -9")


async def page_is_back(page: Page, killed: float) -> None:
    """Waits until the browser has opened a new signalling connection and plays again."""
    sockets = len(page.sockets)
    await until(
        "the browser connects again",
        lambda: len(page.sockets) > sockets,
        seconds=BACK_WITHIN,
        state=page.story,
    )
    await page.sees("ann", seconds=BACK_WITHIN)
    await page.hears("bob", seconds=BACK_WITHIN)
    took = time.monotonic() - killed
    measured(f"the browser is back with media {took:.1f} s after kill -9")


async def test_a_gateway_restart_leaves_media_alone_and_the_rooms_where_they_are(
    stage: Stage,
) -> None:
    cluster = await stage.cluster({"s1": 1, "s2": 1})
    placed = await cluster.placed({"s2": 1})
    (room,) = placed["s2"]
    ann, bob = await pair(stage, cluster.ws, room, video=False)
    cluster.gateway.kill()
    cluster.gateway.start()
    await cluster.gateway.ready(seconds=60)
    for one, other in ((ann, "bob"), (bob, "ann")):
        await until(
            f"{one.identity} is connected again",
            lambda one=one: one.happened("reconnected") and one.connected(),
            seconds=BACK_WITHIN,
            state=one.story,
        )
        await one.hears(other)

    async def still_there() -> bool:
        return await cluster.admin.shard_of(room) == "s2"

    await until("the shard re-asserts its room", still_there, seconds=30)
