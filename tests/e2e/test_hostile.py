"""Hostile input: each gets a clear answer, nothing panics, and two bystanders talk on."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
import websockets
from harness import raw, signalling
from harness.peer import Peer, assert_untouched, pair
from harness.stage import Stage, Up
from harness.tokens import claims, forge, token
from harness.wait import PATIENCE

ROOM = "standup"
LONG = "n" * 300


@dataclass
class Scene:
    """A server with two bystanders."""

    up: Up
    peers: tuple[Peer, Peer]

    async def unharmed(self) -> None:
        """The server lives, and the bystanders hear and see each other without a break."""
        assert (await self.up.program.get("/livez")).status_code == 200
        ann, bob = self.peers
        await asyncio.gather(ann.hears("bob"), bob.hears("ann"), ann.sees("bob"), bob.sees("ann"))
        assert_untouched(*self.peers, but="mallory")
        self.up.program.assert_no_panic()


@pytest_asyncio.fixture
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    up = await stage.up()
    # In a room of the same shard as the attacked one: the same room.
    scene = Scene(up, await pair(stage, up.ws, ROOM))
    yield scene
    await scene.unharmed()


@dataclass
class Refused:
    """A request, the statuses that are right for it, and words that its answer must have."""

    title: str
    target: str
    statuses: tuple[int, ...]
    says: tuple[str, ...] = ()
    headers: list[tuple[str, str]] = field(default_factory=list)


def bad_tokens() -> list[tuple[str, str | None, tuple[int, ...], tuple[str, ...]]]:
    """Title, token, statuses, words."""
    now = int(time.time())
    good = claims(ROOM)
    return [
        ("no token", None, (400, 401), ("token",)),
        ("an empty token", "", (401,), ("token",)),
        ("no JWT at all", "rubbish", (401,), ()),
        ("signed with another secret", forge(good, secret="guess"), (401,), ("signature",)),
        ("an unknown key", forge(claims(ROOM, iss="nobody")), (401,), ("key",)),
        ("no signature", forge(good, secret=None), (401,), ("signature",)),
        ("alg none", forge(good, header={"alg": "none"}, secret=None), (401,), ("hs256",)),
        ("alg none with a signature", forge(good, header={"alg": "none"}), (401,), ("hs256",)),
        ("alg HS512", forge(good, header={"alg": "HS512"}), (401,), ("hs256",)),
        ("a key in its header", forge(good, header={"alg": "HS256", "jku": "http://x"}), (401,), ("jku",)),
        ("expired", forge(claims(ROOM, nbf=None, exp=now - 3600)), (401,), ("expired",)),
        ("without an end", forge(claims(ROOM, exp=None)), (401,), ()),
        ("valid for a year", forge(claims(ROOM, exp=now + 31_536_000)), (401,), ()),
        ("not valid yet", forge(claims(ROOM, nbf=now + 3600, exp=now + 7200)), (401,), ()),
        ("no right to join", forge(claims(ROOM, video={"room": ROOM})), (401, 403), ()),
        ("an empty room", forge(claims("")), (400, 401), ("video.room",)),
        ("no room", forge(claims(ROOM, video={"roomJoin": True})), (400, 401), ("video.room",)),
        ("a room of 300 bytes", forge(claims(LONG)), (400,), ("256",)),
        ("a room with a line feed", forge(claims("a\nb")), (400,), ()),
        ("no identity", forge(claims(ROOM, identity="")), (400, 401), ()),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/rtc/v1", "/rtc"])
async def test_bad_tokens_are_refused_with_the_cause(scene: Scene, path: str) -> None:
    wrong: list[str] = []
    for title, bad, statuses, words in bad_tokens():
        query = "" if bad is None else f"?access_token={bad}"
        for kind, data in (
            ("validate", raw.request(f"{path}/validate{query}")),
            ("websocket", raw.upgrade(f"{path}{query}")),
        ):
            answer = await raw.exchange(scene.up.bind, data)
            body = answer.body.lower()
            if answer.status not in statuses or any(word not in body for word in words):
                wrong.append(
                    f"{title} ({kind}): {answer.status} {answer.body!r}, wanted {statuses} {words}"
                )
            if bad and len(bad) > 20 and bad in answer.body:
                wrong.append(f"{title} ({kind}): the answer repeats the token")
    assert not wrong, "\n".join(wrong)


def bad_names() -> list[Refused]:
    """Requests whose room is missing, ambiguous or unusable."""
    good = token(ROOM, "mallory")
    named = {
        "two dots": "%2e%2e",
        "two dots, mixed": ".%2E",
        "one dot": "%2e",
        "encoded twice": "stand%2575p",
        "a per cent sign": "50%25",
        "a slash": "a%2fb",
        "a backslash": "a%5cb",
        "a question mark": "a%3fb",
        "a hash": "a%23b",
        "a broken escape": "stand%zz",
        "half an escape": "standup%",
        "no UTF-8": "%ff%fe",
        "an overlong encoding": "%c0%ae",
        "a NUL": "a%00b",
        "a line feed": "a%0ab",
        "a bidi override": "a%e2%80%aeb",
        "a zero-width space": "a%e2%80%8bb",
        "a leading space": "%20standup",
        "300 bytes": LONG,
        "300 bytes, encoded": "%6e" * 300,
        "a reserved name": "rtc",
        "nothing": "",
    }
    refused = [
        Refused(
            f"path with {title}",
            signalling.validate_target(good, prefix=f"/r/{name}"),
            (400, 404) if title == "nothing" else (400,),
        )
        for title, name in named.items()
    ]
    mismatch = [
        Refused(
            "token for another room than the path",
            signalling.validate_target(token("other", "mallory"), prefix=f"/r/{ROOM}"),
            (400,),
            ("room",),
        ),
        Refused(
            "token for the same name in another case",
            signalling.validate_target(token("Standup", "mallory"), prefix=f"/r/{ROOM}"),
            (400,),
            ("room",),
        ),
        Refused(
            "two rooms in the query",
            signalling.validate_target(good) + "&room=other",
            (400,),
            ("room",),
        ),
        Refused(
            "another room in the header",
            signalling.validate_target(good, prefix=f"/r/{ROOM}"),
            (400,),
            ("room",),
            [("X-Anteroom-Room", "other")],
        ),
        Refused(
            "two tokens",
            signalling.validate_target(good) + f"&access_token={token('other', 'mallory')}",
            (400, 401),
        ),
        Refused(
            "two tokens, query and header",
            signalling.validate_target(good),
            (400, 401),
            (),
            [("Authorization", f"Bearer {token('other', 'mallory')}")],
        ),
    ]
    return refused + mismatch


async def test_bad_room_names_are_refused_with_the_cause(scene: Scene) -> None:
    wrong: list[str] = []
    for case in bad_names():
        for kind, data in (
            ("http", raw.request(case.target, case.headers)),
            ("websocket", raw.upgrade(case.target.replace("/validate", ""), case.headers)),
        ):
            answer = await raw.exchange(scene.up.bind, data)
            text = answer.body.lower()
            clear = (
                answer.status in case.statuses
                and text.strip()
                and all(w in text for w in case.says)
            )
            if not clear:
                wrong.append(
                    f"{case.title} ({kind}): {answer.status} {answer.body!r}, wanted {case.statuses}"
                )
    assert not wrong, "\n".join(wrong)


async def test_pages_of_unusable_rooms_are_refused(scene: Scene) -> None:
    wrong = []
    for target in (
        "/%2e%2e",
        "/..",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/a%2fb",
        "/%ff",
        "/" + LONG,
        "/a%00b",
    ):
        answer = await raw.exchange(scene.up.bind, raw.request(target))
        if answer.status not in (400, 404) or "root:" in answer.body:
            wrong.append(f"{target[:40]}: {answer.status}")
    assert not wrong, "\n".join(wrong)


async def test_malformed_and_oversized_requests_are_refused(scene: Scene) -> None:
    page = "/r/standup/"
    big = [("x-filler", "f" * 40_000)]
    many = [(f"x-filler-{number}", "f") for number in range(150)]
    cases = [
        ("a header of 40 kB", raw.request(page, big), (400, 431)),
        ("a header of 2 MB", raw.request(page, [("x-filler", "f" * 2_000_000)]), (0, 400, 431)),
        ("150 headers", raw.request(page, many), (400, 431)),
        ("a target of 100 kB", raw.request(page + "?q=" + "a" * 100_000), (0, 400, 414, 431)),
        ("no request at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n", (0, 400)),
        ("two lengths", raw.request(page, [("Content-Length", "3"), ("Content-Length", "30")]), (0, 400)),
        ("a line feed in a name", b"GET / HTTP/1.1\r\nHost: x\r\na b: c\r\n\r\n", (0, 400)),
    ]  # fmt: skip
    wrong = []
    for title, data, statuses in cases:
        answer = await raw.exchange(scene.up.bind, data)
        if answer.status not in statuses:
            wrong.append(f"{title}: {answer.status} {answer.body[:80]!r}, wanted {statuses}")
    assert not wrong, "\n".join(wrong)


async def test_a_second_request_hidden_in_a_first_one_is_not_answered(scene: Scene) -> None:
    hidden = raw.request("/hidden")
    both = raw.request(
        "/r/standup/", [("Content-Length", str(5 + len(hidden))), ("Transfer-Encoding", "chunked")]
    )
    host, port = scene.up.bind.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(both + b"0\r\n\r\n" + hidden)
    # RFC 9112 section 6.1: refuse it, or take the chunks and close the connection.
    answers = await asyncio.wait_for(reader.read(), 15 * PATIENCE)
    writer.close()
    assert answers.count(b"HTTP/1.1 ") <= 1, answers


async def test_long_join_urls_are_accepted(scene: Scene) -> None:
    target = signalling.validate_target(token(ROOM, "mallory")) + "&publish=" + "a" * 20_000
    answer = await raw.exchange(scene.up.bind, raw.request(target))
    assert (answer.status, answer.body) == (200, "success"), answer
    assert "a" * 200 not in scene.up.program.text(), "request targets carry tokens: never log them"


async def test_tokens_are_never_logged(scene: Scene) -> None:
    secret = token(ROOM, "mallory")
    for target in (f"/rtc/v1/validate?access_token={secret}", f"/rtc?access_token={secret}x"):
        await raw.exchange(scene.up.bind, raw.request(target))
    assert secret.split(".")[2] not in scene.up.program.text()


async def test_a_slow_request_head_is_cut_off(scene: Scene) -> None:
    host, port = scene.up.bind.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /r/standup/ HTTP/1.1\r\nHost: localhost\r\n")
    began = time.monotonic()
    ended = asyncio.ensure_future(reader.read())
    while not ended.done() and time.monotonic() - began < 20 * PATIENCE:
        # A byte a second: each read succeeds, only a total deadline helps.
        writer.write(b"x")
        await asyncio.wait([ended], timeout=1)
    took = time.monotonic() - began
    cut = ended.done()
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)
    writer.transport.abort()
    assert cut, f"a request head of {took:.0f} s was accepted"


async def close_of(up: Up, identity: str, frame: bytes | str) -> tuple[int, str]:
    """Joins, sends a frame and waits for the close: code and reason."""
    target = signalling.v0_target(token(ROOM, identity))
    async with websockets.connect(
        f"{up.ws}{target}", open_timeout=20, compression=None, max_size=None
    ) as connection:
        await asyncio.wait_for(connection.recv(), 20)
        try:
            await connection.send(frame)
            async with asyncio.timeout(30 * PATIENCE):
                while True:
                    await connection.recv()
        except websockets.ConnectionClosed:
            pass
        except TimeoutError:
            return 0, "still open"
        return connection.close_code or 0, connection.close_reason or ""


_UNREADABLE = {1002, 1003, 1007, 1008}


@pytest.mark.parametrize(
    ("frame", "codes"),
    [
        pytest.param(bytes(3 * 1024 * 1024), {1009}, id="3 MiB of zeros"),
        pytest.param("x" * (3 * 1024 * 1024), {1009}, id="3 MiB of text"),
        pytest.param(b"\xff" * 100, _UNREADABLE, id="bytes that are no message"),
        pytest.param("rubbish", _UNREADABLE, id="text that is no JSON"),
        pytest.param('{"pingReq": 5}', _UNREADABLE, id="JSON that is no message"),
    ],
)
async def test_bad_signalling_frames_close_the_connection(
    scene: Scene, frame: bytes | str, codes: set[int]
) -> None:
    code, reason = await close_of(scene.up, "mallory", frame)
    assert code in codes, f"closed with {code} {reason!r}"


def hostile_packets(chance: random.Random) -> list[bytes]:
    """Packets that look like each protocol on a media port, and some that look like none."""
    sizes = [0, 1, 2, 3, 4, 8, 11, 12, 13, 19, 20, 21, 28, 40, 100, 576, 1200, 1500, 9000]
    # First bytes of STUN, DTLS (RFC 7983), TURN channels, RTP and RTCP, and of nothing.
    first = [0, 1, 3, 16, 20, 22, 23, 63, 64, 79, 127, 128, 129, 144, 191, 192, 255]
    packets = [bytes([head]) + chance.randbytes(size) for head in first for size in sizes]
    stun = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12)
    packets += [
        stun,
        stun + b"\x00\x06\xff\xff" + b"a:b",
        b"\x00\x01\xff\xff\x21\x12\xa4\x42" + bytes(12),
        stun + b"\x00\x06\x00\x03a:b\x00",
        b"\x16\xfe\xff" + bytes(8) + b"\xff\xff" + bytes(20),
        # RTP with more contributing sources, extensions and padding than bytes.
        b"\x8f\x60" + bytes(10),
        b"\x90\x60" + bytes(10) + b"\xbe\xde\xff\xff",
        b"\xa0\x60" + bytes(10) + b"\xff",
        b"\x80\xc8\xff\xff" + bytes(4),
        b"",
    ]
    return packets


async def test_garbage_on_the_udp_media_ports_does_no_harm(scene: Scene) -> None:
    udp, _ = scene.up.program.media_ports(known=set())
    assert udp, "no media port found"
    chance = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for number in range(5):
            for packet in hostile_packets(chance):
                for port in udp:
                    out.sendto(packet[:9000], ("127.0.0.1", port))
            await asyncio.sleep(0)
            assert scene.up.program.alive(), f"died in round {number}"


async def test_garbage_on_the_tcp_media_ports_does_no_harm(scene: Scene) -> None:
    known = {
        int(scene.up.bind.rsplit(":", 1)[1]),
        int((scene.up.program.admin or ":0").rsplit(":", 1)[1]),
    }
    _, tcp = scene.up.program.media_ports(known=known)
    assert tcp, "no ICE-TCP port found"
    chance = random.Random(11)
    framed = [len(packet).to_bytes(2, "big") + packet for packet in hostile_packets(chance)]
    streams = [
        b"".join(framed),
        b"\xff\xff" + bytes(10),
        b"\x00\x00" * 1000,
        chance.randbytes(200_000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00",
        b"",
    ]
    for port in tcp:
        for data in streams:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                await asyncio.wait_for(writer.drain(), 5)
            except (ConnectionError, TimeoutError):
                # Closing the connection is a fine answer.
                pass
            finally:
                writer.transport.abort()
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        await scene.unharmed()
        for _, writer in idle:
            writer.transport.abort()


async def test_the_admin_paths_are_not_on_the_public_port(scene: Scene) -> None:
    for path in ("/v1/reload", "/v1/rooms", "/metrics", "/livez"):
        for method in ("GET", "POST"):
            data = raw.request(path, [("Content-Length", "0")], method=method)
            answer = await raw.exchange(scene.up.bind, data)
            assert "generation" not in answer.body, f"{method} {path}"
            assert "# TYPE" not in answer.body, f"{method} {path}"
