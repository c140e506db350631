"""Several gateways over one Redis behave as one."""

import asyncio
import collections

from harness import history
from harness.load import Crowd, Watch
from harness.peer import assert_untouched
from harness.redis import Redis
from harness.stage import Stage
from harness.wait import until


async def test_joins_by_two_gateways_at_once_land_on_one_shard(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=3)
    # The gateways disagree on every weight: the ring of one chooses other shards than the other's.
    fleet.write_one("g2", {"s1": 9, "s2": 1, "s3": 1})
    answer = await fleet.gateways["g2"].post("/v1/reload")
    assert answer.status_code == 200, answer.text
    rooms = [f"room-{number}" for number in range(30)]
    crowd = Crowd(fleet, rooms, 4, seed=4, life=(10, 20))
    async with crowd, Watch(fleet, crowd.history, every=0.2) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        homes = collections.defaultdict(set)
        for stay in crowd.history.stays:
            homes[stay.room].add(stay.shard)
        split = {room: shards for room, shards in homes.items() if len(shards) > 1}
        assert not split, split
        assert len(crowd.history.stays) == 4 * len(rooms)
        assert len({shard for (shard,) in homes.values()}) == 3
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories


async def test_people_meet_whose_gateways_differ(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
    ann = await stage.peer(fleet.ws_of("g1"), "standup", "ann")
    bob = await stage.peer(fleet.ws_of("g2"), "standup", "bob")
    await asyncio.gather(ann.sees("bob"), bob.sees("ann"), ann.hears("bob"), bob.hears("ann"))
    assert_untouched(ann, bob)


async def test_a_lost_gateway_costs_a_resume_through_the_other(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
    ann = await stage.peer(fleet.ws, "standup", "ann", video=False, single=True)
    bob = await stage.peer(fleet.ws, "standup", "bob", video=False, single=True)
    await asyncio.gather(ann.hears("bob"), bob.hears("ann"))
    shard = await fleet.admin.shard_of("standup")
    fleet.gateways["g1"].kill()
    struck = await until(
        "somebody came by that gateway",
        lambda: [peer for peer in (ann, bob) if peer.happened("reconnecting")],
    )
    for peer in struck:
        await until(
            f"{peer.identity} is back",
            lambda peer=peer: peer.happened("reconnected") and peer.connected(),
            seconds=15,
            state=peer.story,
        )
    await asyncio.gather(ann.hears("bob"), bob.hears("ann"))
    assert await fleet.admin.shard_of("standup") == shard
    for peer in (ann, bob):
        assert not peer.happened("participant_disconnected", "disconnected"), peer.story()


async def test_a_drain_ordered_at_one_gateway_is_obeyed_by_the_other(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2)
    ((room, other),) = (await fleet.placed({"s1": 2})).values()
    await fleet.drain("s1", deadline_s=600, by="g1")

    async def known() -> bool:
        return (await fleet.gateways["g2"].shards())["s1"]["state"] == "draining"

    await until("the other gateway knows", known)
    await stage.peer(fleet.ws_of("g2"), room, "ann", audio=False, video=False)
    assert await fleet.gateways["g2"].shard_of(room) == "s2"
    # And it outlives a restart of the gateway that took the order.
    fleet.gateways["g1"].kill()
    fleet.gateways["g1"].start()
    await fleet.settled()
    await stage.peer(fleet.ws_of("g1"), other, "bob", audio=False, video=False)
    assert await fleet.gateways["g1"].shard_of(other) == "s2"
