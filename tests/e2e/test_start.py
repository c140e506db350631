"""`anteroom up` and the command line: what a stranger meets first."""

import re
import signal
import time

import httpx
from harness.measured import measured
from harness.peer import pair
from harness.ports import free_port
from harness.program import command, participants
from harness.stage import Stage
from harness.wait import PATIENCE, until


async def test_up_prints_the_join_url_within_two_seconds(stage: Stage) -> None:
    bind, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    program = stage.program(
        "up",
        ["up", "--bind", bind, "--admin", admin, "--data", str(stage.folder / "data")],
        admin=admin,
    ).start()
    await until("the join URL is printed", lambda: f"http://{bind}/" in program.text(), every=0.01)
    took = time.monotonic() - program.started
    measured(f"join URL printed {took:.2f} s after the start of `anteroom up`")
    assert took < 2 * PATIENCE, f"join URL after {took:.2f} s"

    await program.ready()
    url = re.search(rf"http://{re.escape(bind)}/\S*", program.text())
    assert url is not None
    async with httpx.AsyncClient() as client:
        page = await client.get(url.group(0).rstrip(".,"))
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]


async def test_up_starts_with_two_shards_and_ends_on_sigterm(stage: Stage) -> None:
    up = await stage.up()
    assert (await up.program.get("/livez")).status_code == 200
    metrics = await up.program.get("/metrics")
    assert metrics.status_code == 200
    assert "# TYPE" in metrics.text
    assert len(await up.program.shards()) == 2

    up.program.send(signal.SIGTERM)
    assert await up.program.exit_code(seconds=15) == 0


async def test_a_token_from_the_command_line_lets_a_participant_in(stage: Stage) -> None:
    up = await stage.up()
    key = ["--api-key", "devkey", "--api-secret", "secret"]
    code, out, error = await command(
        "token", "create", "--room", "standup", "--identity", "eve", "--name", "Eve",
        "--ttl", "10m", *key,
    )  # fmt: skip
    assert code == 0, error
    await stage.peer(up.ws, "standup", "eve", access_token=out.strip(), audio=False, video=False)
    rooms = await up.admin.rooms()
    assert participants(rooms["standup"]) == 1


async def test_the_number_of_shards_can_be_chosen(stage: Stage) -> None:
    up = await stage.up("--shards", "3")
    assert sorted(await up.program.shards()) == ["s1", "s2", "s3"]


async def test_gateway_shard_and_node_work_as_separate_processes(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1, "s2": 1}, nodes=True)
    placed = await cluster.placed({"s1": 1, "s2": 1})
    for shard, (room,) in placed.items():
        await pair(stage, cluster.ws, room, prefix=f"{shard}-")
        assert await cluster.admin.shard_of(room) == shard
