"""SIGSTOP of a shard: a process that does not know that time passes must not serve on."""

import asyncio
import time

from harness import history
from harness.load import Crowd, Watch
from harness.measured import measured
from harness.peer import pair
from harness.program import Program
from harness.redis import Redis
from harness.stage import Stage
from harness.wait import PATIENCE, until

LEASE = 3.0
PAUSE = 10.0
PACKETS_OUT = "anteroom_node_packets_out_total"


async def test_a_stopped_shard_is_not_served_by_its_node_and_nobody_is_live_twice(
    stage: Stage,
) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=2, nodes_apart=True)
    placed = await fleet.placed({"s1": 12})
    room, *others = placed["s1"]
    ann, bob = await pair(stage, fleet.ws, room, video=False)
    crowd = Crowd(fleet, others, 2, seed=1, life=(4, 8), pace=0.3)
    async with crowd, Watch(fleet, crowd.history, every=0.2) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        before = [len(peer.happened("reconnected")) for peer in (ann, bob)]
        cause = crowd.history.cause("SIGSTOP", "s1")
        stopped = time.monotonic()
        fleet.shards["s1"].pause()
        await media_ends(fleet.nodes["s1"], stopped)
        last = max(gap.last for peer in (ann, bob) for gap in peer.gaps.values())
        measured(f"the last sound came {last - stopped:.2f} s after SIGSTOP of the shard")

        await until("the rooms are on the other shard", crowd.present, seconds=20)
        measured(f"all rooms were elsewhere {time.monotonic() - stopped:.1f} s after SIGSTOP")
        await asyncio.sleep(max(0.0, stopped + PAUSE - time.monotonic()))
        fleet.shards["s1"].resume()
        cause.until = history.now()
        await fleet.settled()
        for one, other, count in ((ann, "bob", before[0]), (bob, "ann", before[1])):
            await until(
                f"{one.identity} is connected again",
                lambda one=one, count=count: (
                    len(one.happened("reconnected")) > count and one.connected()
                ),
                seconds=45,
                state=one.story,
            )
            await one.hears(other, seconds=20)
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories
    fleet.shards["s1"].assert_no_panic()


async def media_ends(node: Program, stopped: float) -> None:
    """Waits until the node sends nothing more; it must do so by itself, a lease after the last word
    of its shard. Its figures are a second old at worst."""
    count, moment = await node.metric(PACKETS_OUT), time.monotonic()
    while time.monotonic() < moment + 1.5:
        await asyncio.sleep(0.05)
        now = await node.metric(PACKETS_OUT)
        if now > count:
            count, moment = now, time.monotonic()
        assert moment - stopped <= LEASE + 1 * PATIENCE, "the node serves on without its shard"
    measured(f"the node sent its last packet {moment - stopped:.2f} s after SIGSTOP of its shard")
