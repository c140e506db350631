"""Affinity: a room has one shard, whichever way a request names it."""

import asyncio
import collections
import random
import urllib.parse
from pathlib import Path

import httpx
import pytest
import websockets
import yaml
from harness import raw, signalling
from harness.http2 import Http2
from harness.program import routes
from harness.stage import Cluster, Stage
from harness.tokens import token

ROOMS = 200
NAMES = 20_000
# So many at a time: the machine is small, and a gateway may limit connections per second.
AT_ONCE = 8

# Letters of several scripts, and the marks that URLs leave alone; composed forms only (NFC).
_ALPHABET = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~" * 3 + "äöüßéñçøжя日本語"
)


def random_names(count: int, seed: int) -> list[str]:
    """Different room names of 3 to 40 characters, the same in every run."""
    chance = random.Random(seed)
    names: set[str] = set()
    while len(names) < count:
        names.add("x" + "".join(chance.choices(_ALPHABET, k=chance.randint(2, 39))))
    return sorted(names)


def quoted(room: str) -> str:
    return urllib.parse.quote(room, safe="")


async def in_turns(rooms: list[str], ask: object) -> dict[str, str]:
    """Asks for every room, a few at a time: the shard of each."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(room: str) -> tuple[str, str]:
        async with turns:
            shard = await ask(room)
        assert shard, f"no x-anteroom-shard for {room!r}"
        return room, shard

    return dict(await asyncio.gather(*(one(room) for room in rooms)))


class Ways:
    """Every way to name a room in a request."""

    def __init__(self, cluster: Cluster, client: httpx.AsyncClient, h2: Http2) -> None:
        self._cluster = cluster
        self._client = client
        self._h2 = h2

    async def _get(
        self, target: str, headers: dict[str, bytes] | None = None, *, status: int = 200
    ) -> str | None:
        answer = await self._client.get(f"{self._cluster.http}{target}", headers=headers)
        assert answer.status_code == status, f"{target}: {answer.status_code} {answer.text}"
        return answer.headers.get("x-anteroom-shard")

    async def page(self, room: str) -> str | None:
        return await self._get(f"/{quoted(room)}")

    async def prefix(self, room: str) -> str | None:
        # The page itself is at `/{room}`.
        return await self._get(f"/r/{quoted(room)}/", status=307)

    async def prefix_and_token(self, room: str) -> str | None:
        target = signalling.validate_target(token(room, "ann"), prefix=f"/r/{quoted(room)}")
        return await self._get(target)

    async def query(self, room: str) -> str | None:
        # Without a token: the gateway finds the room, the shard refuses.
        return await self._get(f"/rtc/validate?room={quoted(room)}", status=401)

    async def header(self, room: str) -> str | None:
        return await self._get("/rtc/validate", {"x-anteroom-room": room.encode()}, status=401)

    async def jwt_in_query(self, room: str) -> str | None:
        return await self._get(signalling.validate_target(token(room, "ann")))

    async def jwt_in_header(self, room: str) -> str | None:
        bearer = f"Bearer {token(room, 'ann')}".encode()
        return await self._get("/rtc/validate", {"authorization": bearer})

    async def websocket_v1(self, room: str) -> str | None:
        return await self._websocket(signalling.v1_target(token(room, "ann")), room)

    async def websocket_v0(self, room: str) -> str | None:
        return await self._websocket(signalling.v0_target(token(room, "bob")), room)

    async def websocket_prefix(self, room: str) -> str | None:
        target = signalling.v1_target(token(room, "cy"), prefix=f"/r/{quoted(room)}")
        return await self._websocket(target, room)

    async def _websocket(self, target: str, room: str) -> str | None:
        async with websockets.connect(
            f"{self._cluster.ws}{target}", compression=None, open_timeout=20
        ) as socket:
            join = signalling.response(await asyncio.wait_for(socket.recv(), 20))
            assert join.join.room.name == room
            assert socket.response is not None
            return socket.response.headers.get("x-anteroom-shard")

    async def http2(self, room: str) -> str | None:
        stream = await self._h2.get(f"/{quoted(room)}")
        assert stream.status == 200, stream.headers
        return stream.shard

    async def http2_websocket(self, room: str) -> str | None:
        target = signalling.v1_target(token(room, "dan"))
        stream, messages = await self._h2.websocket(target)
        assert stream.status == 200, stream.headers
        assert signalling.response(messages[0]).join.room.name == room
        return stream.shard

    def all(self) -> dict[str, object]:
        ways = [
            self.page, self.prefix, self.prefix_and_token, self.query, self.header,
            self.jwt_in_query, self.jwt_in_header, self.websocket_v1, self.websocket_v0,
            self.websocket_prefix, self.http2, self.http2_websocket,
        ]  # fmt: skip
        return {way.__name__: way for way in ways}


async def test_every_request_of_a_room_reaches_the_same_shard_by_every_route(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1, "s2": 1})
    rooms = random_names(ROOMS, seed=2)
    requests = [{"method": "GET", "url": f"/r/{quoted(room)}/", "headers": {}} for room in rooms]
    answers = await routes(cluster.config, requests)
    expected = {room: answer["shard"] for room, answer in zip(rooms, answers, strict=True)}
    assert [answer["room"] for answer in answers] == rooms

    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client, Http2(cluster.bind) as h2:
        assert h2.offers_websockets(), "SETTINGS_ENABLE_CONNECT_PROTOCOL is missing (RFC 8441)"
        for name, way in Ways(cluster, client, h2).all().items():
            found = await in_turns(rooms, way)
            strays = {room: shard for room, shard in found.items() if shard != expected[room]}
            assert not strays, (
                f"by {name}: {len(strays)} rooms elsewhere, such as {dict([*strays.items()][:3])}"
            )

    counts = collections.Counter(expected.values())
    assert min(counts["s1"], counts["s2"]) > ROOMS / 4, counts


async def test_h2_prior_knowledge_of_another_library_works_too(stage: Stage) -> None:
    up = await stage.up()
    async with httpx.AsyncClient(http1=False, http2=True, timeout=20) as client:
        answer = await client.get(f"{up.http}/standup")
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    assert answer.headers["x-anteroom-shard"] in {"s1", "s2"}


@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 1)], ids=["1 to 1", "1 to 2 to 1"])
async def test_shares_of_20000_names_are_within_a_tenth_of_the_weights(
    tmp_path: Path, binary: Path, weights: tuple[int, ...]
) -> None:
    config = tmp_path / "gateway.yaml"
    shards = [
        {"id": f"s{number}", "url": f"http://127.0.0.1:{7900 + number}", "weight": weight}
        for number, weight in enumerate(weights, start=1)
    ]
    config.write_text(yaml.safe_dump(gateway_file(shards), sort_keys=False))
    requests = [
        {"method": "GET", "url": f"/r/{quoted(name)}/rtc/v1/validate", "headers": {}}
        for name in random_names(NAMES, seed=20_000)
    ]
    counts = collections.Counter(answer["shard"] for answer in await routes(config, requests))
    for shard in shards:
        share = counts[shard["id"]] / NAMES
        wanted = shard["weight"] / sum(weights)
        assert abs(share / wanted - 1) < 0.10, f"{shard['id']}: {share:.4f}, wanted {wanted:.4f}"


def gateway_file(shards: list[dict]) -> dict:
    """A gateway's file that is only read."""
    return {
        "version": 1,
        "keys": {"devkey": "secret"},
        "cluster": {"secret": "test-cluster-secret"},
        "admin": {"listen": "127.0.0.1:7890"},
        "gateway": {
            "listen": [{"address": "127.0.0.1:7880"}],
            "internal": "127.0.0.1:7891",
            "shards": shards,
        },
    }


async def test_one_name_in_many_spellings_is_one_room(stage: Stage) -> None:
    up = await stage.up()
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    spellings = [composed, decomposed, "caf%C3%A9", "%63af%c3%a9", "cafe%CC%81"]
    async with httpx.AsyncClient(timeout=20) as client:
        shards = set()
        for spelling in spellings:
            name = spelling if "%" in spelling else quoted(spelling)
            target = signalling.validate_target(token(composed, "ann"), prefix=f"/r/{name}")
            answer = await raw.exchange(up.bind, raw.request(target))
            assert (answer.status, answer.body) == (200, "success"), f"{spelling}: {answer}"
            shards.add(answer.shard)
        answer = await client.get(
            f"{up.http}{signalling.validate_target(token(decomposed, 'ann'))}"
        )
        shards.add(answer.headers["x-anteroom-shard"])
    assert len(shards) == 1


async def test_route_says_which_rule_decided_and_why_it_refuses(stage: Stage) -> None:
    cluster = Cluster(stage, {"s1": 1, "s2": 1}, (), separate_nodes=False)
    good, refused = await routes(
        cluster.config,
        [
            {"method": "GET", "url": "/r/standup/rtc/v1", "headers": {}},
            {"method": "GET", "url": "/r/%2e%2e/rtc/v1", "headers": {}},
        ],
    )
    assert good["room"] == "standup"
    assert good["rule"]
    assert refused["status"] == 400
    assert refused["reason"]
