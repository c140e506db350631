"""A minute of chaos with a fixed seed; `make chaos` is longer."""

from harness import chaos
from harness.chaos import Plan
from harness.measured import measured
from harness.stage import Stage

# Each at least once, the quick ones: a trouble and the recovery from it must fit in a few seconds.
_TROUBLES = (
    "kill_shard",
    "flush",
    "cut_shard_off",
    "reload_storm",
    "kill_redis",
    "jump_shard_clock",
    "pause_shard",
    "drain",
    "kill_gateway",
    "jump_redis_clock",
    "cut_from_redis",
)


async def test_a_minute_of_chaos_splits_no_room(stage: Stage) -> None:
    plan = Plan(
        minutes=1.2, seed=3, rooms=30, each=3, peers=1, troubles=_TROUBLES, calm=(0.5, 1), outage=(1, 4)
    )  # fmt: skip
    outcome = await chaos.run(plan, stage, measured)
    for line in outcome.table().splitlines():
        measured(line)
    assert not outcome.failed, outcome.table()


async def test_a_fail_over_of_redis_splits_no_room(stage: Stage) -> None:
    plan = Plan(
        minutes=0.5, seed=4, rooms=20, each=2, peers=0, sentinels=True, troubles=("fail_over",) * 2
    )  # fmt: skip
    outcome = await chaos.run(plan, stage, measured)
    for line in outcome.table().splitlines():
        measured(line)
    assert not outcome.failed, outcome.table()
