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


def program(stage: Stage, role: str, directory: dict, section: dict | None = None) -> Program:
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
    file = {**common(admin), **directory, role: {**sections[role], **(section or {})}}
    if role == "shard":
        file["node"] = {"id": "n1", "udp_port": free_port()}
    path = stage.folder / f"{role}.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False))
    return stage.program(role, [role, "--config", str(path)], admin=admin)


def over(url: str) -> dict:
    return {"directory": {"redis": {"url": url}}}


async def says(program: Program, *words: str) -> str:
    """Starts a program that cannot work. It ends with an error that has these words, or lives and
    says them at `/readyz`, since the fault may pass."""
    program.start()
    heard = ""

    async def said() -> bool:
        nonlocal heard
        if not program.alive():
            assert await program.exit_code() != 0, "it ended as if all were well"
            heard = program.text()
            assert all(word in heard.lower() for word in words), heard
            return True
        try:
            answer = await program.get("/readyz")
        except httpx.HTTPError:
            return False
        heard = answer.text
        assert (await program.get("/livez")).status_code == 200
        return answer.status_code == 503 and all(word in heard.lower() for word in words)

    what = f"{program.name} says {words}"
    await until(what, said, seconds=12, state=lambda: f"{heard}\n{program.tail(5)}")
    return heard


@pytest.mark.parametrize("role", ROLES)
async def test_an_unreachable_redis_is_named(stage: Stage, role: str) -> None:
    port = free_port()
    unreachable = program(stage, role, over(f"redis://127.0.0.1:{port}"))
    await says(unreachable, "redis", f"127.0.0.1:{port}")


@pytest.mark.parametrize("role", ROLES)
async def test_a_wrong_password_is_told_and_not_shown(stage: Stage, role: str) -> None:
    redis = await stage.enter(Redis(stage.folder, password="right-one"))
    wrong = program(stage, role, over(f"redis://:wrong-one@{redis.address}"))
    text = await says(wrong, "redis", "password")
    assert "wrong-one" not in wrong.text() + text


@pytest.mark.parametrize("role", ROLES)
async def test_a_redis_that_evicts_is_refused(stage: Stage, role: str) -> None:
    settings = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    redis = await stage.enter(Redis(stage.folder, settings=settings))
    await says(program(stage, role, over(redis.url)), "allkeys-lru", "noeviction")


async def test_a_right_password_works(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder, password="right-one"))
    fleet = await stage.fleet(redis=redis, gateways=1, shards=1)
    await stage.peer(fleet.ws, "standup", "ann", audio=False, video=False)
    assert "right-one" not in fleet.gateways["g1"].text() + fleet.shards["s1"].text()


async def test_two_shards_with_one_id_are_noticed(stage: Stage) -> None:
    redis = await stage.enter(Redis(stage.folder))
    fleet = await stage.fleet(redis=redis, gateways=1, shards=1)
    ann = await stage.peer(fleet.ws, "standup", "ann", audio=False, video=False)
    twin = program(stage, "shard", over(redis.url))
    await says(twin, "s1")
    # The first one is not disturbed.
    assert ann.connected()
    assert not ann.happened("reconnecting"), ann.story()
    assert (await fleet.admin.shards())["s1"]["lease"]["alive"]


async def test_a_second_gateway_wants_a_redis(stage: Stage) -> None:
    fleet = await stage.fleet(gateways=1, shards=1)
    second = program(stage, "gateway", {}, {"directory": internal_of(fleet)})
    await says(second, "redis")


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
