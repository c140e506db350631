"""Signalling by hand: what clients send that the two libraries do not."""

import asyncio
import json

import httpx
import pytest
import websockets
from harness import raw, signalling
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until
from livekit.protocol import rtc


async def test_text_frames_are_answered_in_json(stage: Stage) -> None:
    up = await stage.up()
    target = signalling.v0_target(token("standup", "ann"))
    async with websockets.connect(f"{up.ws}{target}", open_timeout=20) as socket:
        join = signalling.response(await asyncio.wait_for(socket.recv(), 20)).join
        assert join.room.name == "standup"
        assert join.participant.identity == "ann"
        assert join.ping_interval > 0
        assert join.server_info.version

        await socket.send(json.dumps({"pingReq": {"timestamp": "5", "rtt": "1"}}))
        answer = await first_text(socket, "pongResp")
        assert answer["pongResp"]["lastPingTimestamp"] == "5"

        # A binary frame switches back.
        ping = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=6))
        await socket.send(ping.SerializeToString())
        while True:
            message = await asyncio.wait_for(socket.recv(), 20)
            if isinstance(message, bytes):
                response = signalling.response(message)
                if response.WhichOneof("message") == "pong_resp":
                    break
        assert response.pong_resp.last_ping_timestamp == 6


async def first_text(socket: websockets.ClientConnection, key: str) -> dict:
    """The first text frame that carries `key`; other messages may come before it."""
    while True:
        message = await asyncio.wait_for(socket.recv(), 20)
        if isinstance(message, str) and key in (value := json.loads(message)):
            return value


async def test_a_leave_ends_the_session_and_is_told_to_the_others(stage: Stage) -> None:
    up = await stage.up()
    bob = await stage.peer(up.ws, "standup", "bob", audio=False, video=False)
    target = signalling.v1_target(token("standup", "ann"))
    async with websockets.connect(f"{up.ws}{target}", open_timeout=20) as socket:
        await asyncio.wait_for(socket.recv(), 20)
        await until("bob sees ann", lambda: "ann" in bob.room.remote_participants)
        await socket.send(signalling.LEAVE)
        await until("bob sees ann go", lambda: bob.happened("participant_disconnected"))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("prefix", ["", "/r/standup", "/"])
async def test_joins_are_understood_in_every_form(
    stage: Stage, compressed: bool, prefix: str
) -> None:
    up = await stage.up()
    target = signalling.v1_target(token("standup", "ann"), prefix=prefix, compressed=compressed)
    async with websockets.connect(f"{up.ws}{target}", open_timeout=20) as socket:
        join = signalling.response(await asyncio.wait_for(socket.recv(), 20)).join
    assert join.room.name == "standup"


async def test_a_resume_of_an_unknown_session_is_told_to_join_anew(stage: Stage) -> None:
    up = await stage.up()
    target = signalling.v0_target(token("standup", "ann")) + "&reconnect=1&sid=PA_unknown"
    async with websockets.connect(f"{up.ws}{target}", open_timeout=20) as socket:
        first = signalling.response(await asyncio.wait_for(socket.recv(), 20))
    assert first.WhichOneof("message") == "leave"
    assert first.leave.action == rtc.LeaveRequest.RECONNECT


async def test_plain_http_on_the_signalling_paths_follows_the_protocol(stage: Stage) -> None:
    up = await stage.up()
    good = token("standup", "ann")
    async with httpx.AsyncClient(base_url=up.http, timeout=20) as client:
        for path in ("/rtc/v1", "/rtc"):
            answer = await client.get(path, params={"access_token": good})
            assert answer.status_code == 404, f"{path}: a request that is no upgrade"
        for path in ("/rtc/v1/validate", "/rtc/validate", "/r/standup/rtc/v1/validate"):
            answer = await client.get(path, params={"access_token": good})
            assert (answer.status_code, answer.text) == (200, "success"), path
            assert answer.headers["access-control-allow-origin"] == "*"
            refused = await client.get(path, params={"access_token": "x"})
            assert refused.status_code == 401, path
            # Browsers can read the cause only with this header.
            assert refused.headers["access-control-allow-origin"] == "*"
        head = await client.head("/")
        assert head.status_code == 200
        assert head.headers["access-control-allow-origin"] == "*"


async def test_the_answer_tells_the_shard_and_nothing_of_the_inside(stage: Stage) -> None:
    up = await stage.up()
    sent = [
        ("x-anteroom-shard", "s9"),
        ("x-anteroom-context", "forged.forged"),
        ("x-forwarded-for", "203.0.113.9"),
    ]
    target = signalling.validate_target(token("standup", "ann"))
    plain = await raw.exchange(up.bind, raw.request(target))
    forged = await raw.exchange(up.bind, raw.request(target, sent))
    assert (forged.status, forged.body) == (200, "success"), forged
    assert forged.shard == plain.shard
    assert "x-anteroom-context" not in forged.headers
