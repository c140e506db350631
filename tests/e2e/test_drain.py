"""Drain: a shard gives its rooms away, and the people in them go on as if nothing had been."""

import asyncio
import json
import signal

from harness import history
from harness.browser import Page
from harness.fleet import Fleet
from harness.load import Crowd, Watch
from harness.measured import measured
from harness.peer import Peer
from harness.program import command, participants
from harness.redis import Redis
from harness.stage import Stage
from harness.wait import until

# What a migration may interrupt: the aim at the 99th percentile, and a slow machine.
GAP_MAX = 1.5 + 2.0


async def two_shards(stage: Stage, **options: object) -> Fleet:
    redis = await stage.enter(Redis(stage.folder))
    return await stage.fleet(redis=redis, gateways=2, shards=2, **options)


async def is_on(fleet: Fleet, room: str, shard: str, *, people: int) -> None:
    """Waits until the room is there with all of its people."""

    async def there() -> bool:
        found = (await fleet.admin.rooms()).get(room)
        return bool(found) and found["shard"] == shard and participants(found) == people

    await until(f"{room} is on {shard} with {people}", there, seconds=20)


async def test_a_migrated_room_sees_nobody_leave_twice_in_a_row(stage: Stage) -> None:
    fleet = await two_shards(stage)
    ((room,),) = (await fleet.placed({"s1": 1})).values()
    ann = await stage.peer(fleet.ws, room, "ann", single=True, simulcast=True)
    page = await stage.page(f"{fleet.http}/{room}?autojoin=1&name=Ada&audio=1&video=1&single=1")
    ada = await page.identity()
    await asyncio.gather(page.sees("ann"), page.hears("ann"), ann.sees(ada), ann.hears(ada))
    await page.observe()
    sids = (ann.sid, room)
    ann.talk()
    await page.talk()

    for source, target in (("s1", "s2"), ("s2", "s1")):
        ann.mark()
        await page.mark()
        await fleet.drain(source)
        await is_on(fleet, room, target, people=2)
        await asyncio.gather(page.sees("ann"), page.hears("ann"), ann.sees(ada), ann.hears(ada))
        await tell_gaps(f"{source} to {target}", ann, page)
        await fleet.undrain(source)

    counts = (await ann.hush(), await page.hush())
    await data_is_complete(ann, page, ada, *counts)
    assert sids == (ann.sid, room)
    nobody_left(ann)
    gone = await page.happened("participantDisconnected", "trackUnsubscribed", "disconnected")
    assert not gone, f"{gone}\n{page.story()}"


async def tell_gaps(what: str, ann: Peer, page: Page) -> None:
    # A fake microphone beeps now and then: only its camera shows gaps.
    videos = {kind: gap for kind, gap in ann.gaps.items() if kind.startswith("video")}
    gaps = {f"ann, {kind}": gap.longest for kind, gap in videos.items()}
    gaps |= {f"Ada, video {who}": longest for who, (longest, _) in (await page.gaps()).items()}
    told = ", ".join(f"{who} {gap:.2f} s" for who, gap in gaps.items())
    measured(f"longest media gaps of a migration {what}: {told}")
    assert max(gaps.values()) <= GAP_MAX, told


async def data_is_complete(ann: Peer, page: Page, ada: str, by_ann: int, by_ada: int) -> None:
    """Every packet came, once, and in order."""

    async def all_there() -> bool:
        return len(ann.numbers_of(ada)) >= by_ada and len(await page.data()) >= by_ann

    try:
        await until("all data has come", all_there, seconds=15)
    except AssertionError as error:
        by_page = {int(text) for who, text in await page.data() if who == "ann"}
        missing = {
            "ann": sorted(set(range(by_ada)) - set(ann.numbers_of(ada))),
            "Ada": sorted(set(range(by_ann)) - by_page),
        }
        raise AssertionError(f"{error}; missing: {missing}\n{ann.story()}") from error
    assert ann.numbers_of(ada) == list(range(by_ada))
    assert [int(text) for who, text in await page.data() if who == "ann"] == list(range(by_ann))
    measured(f"reliable packets during two migrations: {by_ann} and {by_ada}, each once, in order")


def nobody_left(*peers: Peer) -> None:
    for peer in peers:
        gone = peer.happened("participant_disconnected", "track_unsubscribed", "disconnected")
        assert not gone, peer.story()
        assert not peer.happened("local_track_republished"), peer.story()


async def test_two_peer_connections_join_again_on_the_new_shard(stage: Stage) -> None:
    fleet = await two_shards(stage)
    ((room,),) = (await fleet.placed({"s1": 1})).values()
    ann = await stage.peer(fleet.ws, room, "ann", single=True)
    bob = await stage.peer(fleet.ws, room, "bob", single=False)
    await asyncio.gather(ann.sees("bob"), bob.sees("ann"), ann.hears("bob"), bob.hears("ann"))
    await fleet.drain("s1")
    await is_on(fleet, room, "s2", people=2)
    await asyncio.gather(ann.sees("bob"), bob.sees("ann"), ann.hears("bob"), bob.hears("ann"))
    assert not bob.happened("disconnected"), bob.story()
    assert not ann.happened("disconnected", "local_track_republished"), ann.story()


async def test_sigterm_moves_the_rooms_and_ends_the_shard(stage: Stage) -> None:
    fleet = await two_shards(stage)
    ((room,),) = (await fleet.placed({"s1": 1})).values()
    ann = await stage.peer(fleet.ws, room, "ann", single=True)
    bob = await stage.peer(fleet.ws, room, "bob", single=True)
    await asyncio.gather(ann.sees("bob"), bob.sees("ann"))
    fleet.shards["s1"].send(signal.SIGTERM)
    await is_on(fleet, room, "s2", people=2)
    assert await fleet.shards["s1"].exit_code(seconds=20) == 0
    await asyncio.gather(ann.sees("bob"), bob.sees("ann"), ann.hears("bob"), bob.hears("ann"))
    nobody_left(ann, bob)


async def test_a_drain_of_many_rooms_loses_nobody(stage: Stage) -> None:
    fleet = await two_shards(stage)
    rooms = [f"crowd-{number}" for number in range(40)]
    crowd = Crowd(fleet, rooms, 3, seed=5, life=(40, 45), pace=0.3)
    async with crowd, Watch(fleet, crowd.history, every=0.2) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        cause = crowd.history.cause("drain", "s1")
        began = history.now()
        await fleet.drain("s1")

        async def empty() -> bool:
            homes = {room["shard"] for room in (await fleet.admin.rooms()).values()}
            return homes == {"s2"} and crowd.present()

        await until("all rooms are on the other shard", empty, seconds=20, state=crowd.absent)
        cause.until = history.now()
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories
    # They have no media connection yet: such participants join anew.
    (recovery,) = history.recoveries(crowd.history)
    measured(
        f"{len(recovery.times)} rooms drained in {cause.until - began:.1f} s; somebody was in the "
        f"room again after {history.quantile(recovery.times, 0.5):.2f} s (p50), "
        f"{max(recovery.times):.2f} s (worst)"
    )
    assert max(recovery.times) < 5


async def test_drain_waits_for_its_deadline_and_is_undone(stage: Stage) -> None:
    fleet = await two_shards(stage)
    placed = await fleet.placed({"s1": 3})
    live, idle, later = placed["s1"]
    ann = await stage.peer(fleet.ws, live, "ann", video=False)
    await anteroom_shards(fleet, "drain", "s1", "--deadline", "600s")

    async def draining() -> bool:
        return all(
            [(await g.shards())["s1"]["state"] == "draining" for g in fleet.gateways.values()]
        )

    await until("both gateways know", draining)
    await stage.peer(fleet.ws_of("g2"), idle, "bob", audio=False, video=False)
    assert await fleet.admin.shard_of(idle) == "s2", "a draining shard takes no new rooms"
    await stage.peer(fleet.ws_of("g2"), live, "cy", audio=False, video=False)
    assert await fleet.admin.shard_of(live) == "s1", "a live room stays until the deadline"

    await anteroom_shards(fleet, "undrain", "s1")

    async def active() -> bool:
        return all([(await g.shards())["s1"]["state"] == "active" for g in fleet.gateways.values()])

    await until("the shard takes rooms again", active)
    await stage.peer(fleet.ws_of("g2"), later, "dan", audio=False, video=False)
    assert await fleet.admin.shard_of(later) == "s1"
    assert not ann.happened("reconnecting", "disconnected"), ann.story()
    listed = json.loads(await anteroom_shards(fleet, "ls", "--json"))
    shards = listed if isinstance(listed, list) else listed["shards"]
    assert {shard["id"] for shard in shards} == {"s1", "s2"}


async def anteroom_shards(fleet: Fleet, *arguments: str) -> str:
    """`anteroom shards ...` at the first gateway."""
    admin = f"http://{fleet.gateways['g1'].admin}"
    code, out, error = await command("shards", *arguments, "--admin", admin)
    assert code == 0, f"{out}\n{error}"
    return out
