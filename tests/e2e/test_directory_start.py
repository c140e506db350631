"""What is wrong with the directory is said at the start, by everybody that uses it."""

import httpx
import pytest
import yaml
from harness.fleet import Fleet, common
from harness.ports import free_port
from harness.program import Program
from harness.redis import Redis
from harness.stage import Stage
from harness.wait import until

ROLES = ("gateway", "shard")


def program(stage: Stage, role: str, directory: dict, **section: object) -> Program:
    """A gateway or a shard with this directory, not started."""
    admin = f"127.0.0.1:{free_port()}"
    bind = f"127.0.0.1:{free_port()}"
    sections = {
        "gateway": {
            "listen": [{"address": bind}],
            "shards": [{"id": "s1", "url": f"http://127.0.0.1:{free_port()}"}],
        },
        "shard": {"id": "s1", "listen": bind, "nodes": 1},
    }
    file = {**common(admin), **directory, role: {**sections[role], **section}}
    if role == "shard":
        file["node"] = {"id": "n1", "udp_port": free_port()}
    path = stage.folder / f"{role}.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False))
    return stage.program(role, [role, "--config", str(path)], admin=admin)


def over(url: str) -> dict:
    return {"directory": {"redis": {"url": url}}}


async def fault_of(program: Program, *, may_wait: bool = False) -> str:
    """What a program says that cannot work: it ends with an error, or (`may_wait`) lives on and says
    it at `/readyz`, where the fault may pass."""
    program.start()

    async def told() -> str:
        if not program.alive():
            code = await program.exit_code()
            assert code != 0, "it ended as if all were well"
            return program.text()
        if not may_wait:
            return ""
        try:
            answer = await program.get("/readyz")
        except httpx.HTTPError:
            return ""
        if answer.status_code == 200:
            return ""
        assert answer.status_code == 503
        assert (await program.get("/livez")).status_code == 200
        return answer.text

    return await until(f"{program.name} says what is wrong", told, seconds=20, state=program.tail)


@pytest.mark.parametrize("role", ROLES)
async def test_an_unreachable_redis_is_named(stage: Stage, role: str) -> None:
    port = free_port()
    text = await fault_of(program(stage, role, over(f"redis://127.0.0.1:{port}")), may_wait=True)
    assert f"127.0.0.1:{port}" in text, text
    assert "redis" in text.lower(), text


@pytest.mark.parametrize("role", ROLES)
async def test_a_wrong_password_is_told_and_not_shown(stage: Stage, role: str) -> None:
    redis = await stage.enter(Redis(stage.folder, password="right-one"))
    wrong = program(stage, role, over(f"redis://:wrong-one@{redis.address}"))
    text = await fault_of(wrong, may_wait=True)
    assert "password" in text.lower(), text
    assert "wrong-one" not in wrong.text() + text


@pytest.mark.parametrize("role", ROLES)
async def test_a_redis_that_evicts_is_refused(stage: Stage, role: str) -> None:
    settings = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    redis = await stage.enter(Redis(stage.folder, settings=settings))
    text = await fault_of(program(stage, role, over(redis.url)), may_wait=True)
    assert "allkeys-lru" in text, text
    assert "noeviction" in text, text


async def test_a_right_password_works(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder, password="right-one"))
    fleet = await stage.fleet(redis=redis, gateways=1, shards=1)
    await stage.peer(fleet.ws, "standup", "ann", audio=False, video=False)
    assert "right-one" not in fleet.gateways["g1"].text() + fleet.shards["s1"].text()


async def test_two_shards_with_one_id_are_noticed(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=1, shards=1)
    ann = await stage.peer(fleet.ws, "standup", "ann", audio=False, video=False)
    twin = program(stage, "shard", over(redis.url), id="s1")
    text = await fault_of(twin, may_wait=True)
    assert "s1" in text, text
    # The first one is not disturbed.
    assert ann.connected()
    assert not ann.happened("reconnecting"), ann.story()
    assert (await fleet.admin.shards())["s1"]["lease"]["alive"]


async def test_a_second_gateway_wants_a_redis(stage: Stage) -> None:
    fleet = await stage.fleet(gateways=1, shards=1)
    second = program(stage, "gateway", {}, directory=internal_of(fleet))
    text = await fault_of(second)
    assert "redis" in text.lower(), text


def internal_of(fleet: Fleet) -> str:
    file = yaml.safe_load(fleet.config_of("g1").read_text())
    return f"http://{file['gateway']['internal']}"


async def test_a_gateway_outlives_an_unreachable_redis_and_works_when_it_comes(
    stage: Stage,
) -> None:
    redis = Redis(stage.folder)
    await stage.enter(redis)
    redis.kill()
    fleet = Fleet(stage, redis=redis, gateways=1, shards=1)
    await stage.enter(fleet.front)
    fleet.prepare()
    for one in (*fleet.gateways.values(), *fleet.shards.values()):
        one.start()
        await until(f"{one.name} lives", lambda one=one: one.answers("/livez"))
    await redis.start()
    await fleet.settled()
    await stage.peer(fleet.ws, "standup", "ann", audio=False, video=False)
