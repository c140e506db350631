"""Reload: the shards change while people talk, and nobody notices."""

import asyncio
import os
import signal

import pytest
from harness import history
from harness.fleet import Fleet
from harness.load import Crowd, Watch, gauge
from harness.measured import measured
from harness.peer import Peer, assert_untouched, pair
from harness.program import Program, routes
from harness.redis import Redis
from harness.stage import Cluster, Stage
from harness.wait import stays, until

TWO = {"s1": 1, "s2": 1}
THREE = {"s1": 1, "s2": 1, "s3": 1}


async def fill(stage: Stage, cluster: Cluster, rooms: list[str], each: int) -> list[Peer]:
    """Puts participants into rooms: all talk, the first of each room is seen as well."""
    peers: list[Peer] = []
    for room in rooms:
        for number in range(each):
            peer = await stage.peer(
                cluster.ws, room, f"{room}-p{number}", video=number == 0, small=True
            )
            peers.append(peer)
    return peers


async def media_flows(peers: list[Peer]) -> None:
    """Everybody hears and sees the others of the room, from now on."""

    async def one(peer: Peer) -> None:
        others = [
            other.identity
            for other in peers
            if other is not peer and other.room_name == peer.room_name
        ]
        await peer.hears(*others, seconds=60)
        seen = [identity for identity in others if identity.endswith("-p0")]
        await peer.sees(*seen, seconds=60)

    await asyncio.gather(*(one(peer) for peer in peers))


async def test_a_third_shard_is_added_without_anyone_noticing(stage: Stage) -> None:
    cluster = await stage.cluster(TWO, standby=("s3",))
    placed = await cluster.placed({"s1": 3, "s2": 3})
    peers = await fill(stage, cluster, [*placed["s1"], *placed["s2"]], each=3)
    await media_flows(peers)
    before = await homes(cluster)
    assert before == {room: shard for shard, rooms in placed.items() for room in rooms}

    cluster.write(THREE)
    cluster.gateway.send(signal.SIGHUP)

    async def known() -> bool:
        return set(await cluster.admin.shards()) == set(THREE)

    await until("the gateway knows the third shard", known)
    await cluster.shards["s3"].ready()
    await media_flows(peers)
    assert await homes(cluster) == before, "a live room moved"
    assert_untouched(*peers)

    new = await cluster.placed({"s3": 1}, prefix="new")
    (room,) = new["s3"]
    ann, bob = await pair(stage, cluster.ws, room, video=False)
    assert await cluster.admin.shard_of(room) == "s3"

    await refuse_broken_file(cluster)
    await media_flows([*peers[:3], *peers[-3:]])
    assert {room: home for room, home in (await homes(cluster)).items() if room in before} == before
    assert_untouched(*peers, ann, bob)


async def homes(cluster: Cluster) -> dict[str, str]:
    """The shard of every live room."""
    return await homes_of(cluster.admin)


async def topology(cluster: Cluster) -> dict[str, tuple]:
    """What the file says of the shards; the rest of `/v1/shards` changes by itself."""
    shards = await cluster.admin.shards()
    return {name: (shard["url"], shard["weight"], shard["state"]) for name, shard in shards.items()}


async def refuse_broken_file(cluster: Cluster) -> None:
    """A broken file changes nothing, and the answer says where it is broken."""
    before = await topology(cluster)
    good = cluster.config.read_text()
    lines = good.splitlines()
    number = next(index for index, line in enumerate(lines) if "weight:" in line)
    lines[number] = lines[number].replace("weight:", "wieght:")
    cluster.config.write_text("\n".join(lines) + "\n")

    answer = await cluster.admin.post("/v1/reload")
    assert answer.status_code == 422, answer.text
    assert f"line {number + 1}" in answer.text, answer.text
    assert "wieght" in answer.text
    assert "weight" in answer.text.replace("wieght", "")

    printed = len(cluster.gateway.text())
    cluster.gateway.send(signal.SIGHUP)
    await until(
        "the refusal is logged with its line",
        lambda: f"line {number + 1}" in cluster.gateway.text()[printed:],
    )
    assert await topology(cluster) == before
    cluster.config.write_text(good)
    answer = await cluster.admin.post("/v1/reload")
    assert answer.status_code == 200, answer.text


async def test_the_file_is_watched(stage: Stage) -> None:
    cluster = await stage.cluster(TWO)
    cluster.write({"s1": 1, "s2": 3})

    async def reweighed() -> bool:
        return (await cluster.admin.shards())["s2"]["weight"] == 3

    await until("the new weight is in force without a signal", reweighed)


async def test_reload_by_the_admin_api_tells_what_changed(stage: Stage) -> None:
    cluster = await stage.cluster(TWO, standby=("s3",))
    cluster.write(THREE)
    answer = await cluster.admin.post("/v1/reload")
    assert answer.status_code == 200, answer.text
    # The file watch may have been faster: then there is nothing left to change.
    assert set(await cluster.admin.shards()) == set(THREE)


async def test_a_draining_shard_keeps_its_rooms_and_takes_no_new_ones(stage: Stage) -> None:
    cluster = await stage.cluster(TWO)
    placed = await cluster.placed({"s1": 2})
    live, idle = placed["s1"]
    ann, bob = await pair(stage, cluster.ws, live, video=False)
    cluster.write(TWO, draining=("s1",))
    assert (await cluster.admin.post("/v1/reload")).status_code == 200

    late = await stage.peer(cluster.ws, live, "late", video=False)
    await late.hears("ann", "bob")
    assert await cluster.admin.shard_of(live) == "s1"
    await stage.peer(cluster.ws, idle, "first", audio=False, video=False)
    assert await cluster.admin.shard_of(idle) == "s2"
    assert_untouched(ann, bob)


async def test_a_removed_shard_keeps_its_live_rooms(stage: Stage) -> None:
    cluster = await stage.cluster(TWO)
    placed = await cluster.placed({"s1": 1})
    (room,) = placed["s1"]
    ann, bob = await pair(stage, cluster.ws, room, video=False)
    cluster.write({"s2": 1})
    assert (await cluster.admin.post("/v1/reload")).status_code == 200

    await stays("nobody reconnects", lambda: ann.connected() and bob.connected(), seconds=2)
    late = await stage.peer(cluster.ws, room, "late", video=False)
    await late.hears("ann", "bob")
    assert await cluster.admin.shard_of(room) == "s1"
    assert_untouched(ann, bob)


RELOADS = int(os.environ.get("E2E_RELOADS", "200"))


async def test_many_reloads_under_load_drop_no_socket(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=2, shards=3)
    ann, bob = await pair(stage, fleet.ws, "standup", video=False)
    crowd = Crowd(fleet, [f"crowd-{number}" for number in range(40)], 2, seed=6, life=(3, 9))
    async with crowd, Watch(fleet, crowd.history) as watch:
        await until("everybody is in", crowd.present, state=crowd.absent)
        for number in range(RELOADS):
            # A topology that changes, by every way to say so.
            fleet.write({"s1": 1 + number % 3, "s2": 1, "s3": 1 + number % 2})
            for gateway in fleet.gateways.values():
                if number % 3 == 0:
                    gateway.send(signal.SIGHUP)
                elif number % 3 == 1:
                    assert (await gateway.post("/v1/reload")).status_code == 200
            await asyncio.sleep(0.02)
        count = 0
        for gateway in fleet.gateways.values():
            metrics = (await gateway.get("/metrics")).text
            assert gauge(metrics, "anteroom_reload_failures_total") == 0
            count += await gateway.metric("anteroom_reloads_total")
        joins = len(crowd.history.stays)
    assert (crowd.breaks(), dict(crowd.history.refusals)) == (0, {})
    assert_untouched(ann, bob)
    assert not (broken := history.check(crowd.history)), broken[:5]
    assert watch.ghosts == 0, watch.ghost_stories
    measured(f"{count:.0f} reloads of two gateways under load: 0 sockets dropped, {joins} joins")


NAMES = 5_000


@pytest.mark.parametrize("shards", [2, 4])
async def test_one_more_shard_moves_no_live_room_and_few_idle_names(
    stage: Stage, shards: int
) -> None:
    fleet = await stage.fleet(gateways=1, shards=shards, standby=("extra",))
    crowd = Crowd(fleet, [f"crowd-{number}" for number in range(50)], 1, seed=7, life=(30, 40))
    async with crowd:
        await until("everybody is in", crowd.present, state=crowd.absent)
        homes, places = await homes_of(fleet.admin), await places_of(fleet)
        fleet.write({**fleet.urls, "extra": 1})
        assert (await fleet.admin.post("/v1/reload")).status_code == 200
        assert set(await fleet.admin.shards()) == set(fleet.urls)
        assert await homes_of(fleet.admin) == homes
        moved = {name for name, shard in (await places_of(fleet)).items() if shard != places[name]}
    assert crowd.breaks() == 0
    share = len(moved) / NAMES
    assert share <= 1 / (shards + 1) + 0.03, share
    measured(f"a shard added to {shards}: {share:.1%} of idle names moved, 0 live rooms")


async def places_of(fleet: Fleet) -> dict[str, str]:
    """Where many idle names go, by the first gateway's file."""
    names = [f"idle-{number}" for number in range(NAMES)]
    requests = [{"method": "GET", "url": f"/r/{name}/", "headers": {}} for name in names]
    answers = await routes(fleet.config_of("g1"), requests)
    return {name: answer["shard"] for name, answer in zip(names, answers, strict=True)}


async def homes_of(admin: Program) -> dict[str, str]:
    return {name: room["shard"] for name, room in (await admin.rooms()).items()}
