"""Recorders and agents serve a room: they neither open nor keep it."""

import asyncio

import httpx
import pytest
from harness import raw, signalling
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until

SERVANTS = [{"hidden": True, "recorder": True}, {"hidden": True, "agent": True}]


@pytest.mark.parametrize("grants", SERVANTS, ids=["recorder", "agent"])
async def test_a_servant_of_a_room_that_is_not_live_gets_404(stage: Stage, grants: dict) -> None:
    up = await stage.up()
    access = token("standup", "servant", **grants)
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.get(f"{up.http}{signalling.validate_target(access)}")
    assert answer.status_code == 404, answer.text
    refused = await raw.exchange(up.bind, raw.upgrade(signalling.v1_target(access)))
    assert refused.status == 404, refused
    assert await up.admin.rooms() == {}


async def test_a_recorder_joins_a_live_room_and_does_not_keep_it(stage: Stage) -> None:
    fleet = await stage.fleet(
        gateways=1, shards=1, shard_options={"departure_timeout_s": 1, "empty_timeout_s": 1}
    )
    ann = await stage.peer(fleet.ws, "standup", "ann", video=False)
    access = token("standup", "recorder", hidden=True, recorder=True)
    recorder = await stage.peer(
        fleet.ws, "standup", "recorder", access_token=access, audio=False, video=False
    )
    await recorder.hears("ann")
    await ann.close()

    async def closed() -> bool:
        return "standup" not in await fleet.admin.rooms()

    await until("the room ends with the last person", closed, seconds=20)
    await until("the recorder is told", lambda: recorder.happened("disconnected"), seconds=20)
    await asyncio.sleep(1.5)
    assert await closed(), "the recorder came back and opened the room again"
