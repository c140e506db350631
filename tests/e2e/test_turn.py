"""TURN in the node: a client of another make on its sockets, and browsers that know no other way."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
import yaml
from aioice.stun import TransactionFailed
from harness.fleet import common
from harness.ports import free_port
from harness.program import Program
from harness.resources import session
from harness.stage import Stage
from harness.tokens import token
from harness.turn import NAME, Client, Echo, RelayOnly, certificate, credentials, ways
from harness.wait import until

SECRET = "a secret of some length for these tests"


class Node:
    """A node without a shard: its TURN server needs none."""

    def __init__(self, stage: Stage, **turn: object) -> None:
        self.port, self.tls_port, self.media = free_port(), free_port(), free_port()
        chain, key = certificate(stage.folder)
        admin = f"127.0.0.1:{free_port()}"
        config = {
            **common(admin),
            "node": {
                "id": "n1",
                "udp_port": self.media,
                "bind": ["127.0.0.1"],
                "shard": "http://127.0.0.1:1",
                "turn": {
                    "udp_port": self.port,
                    "tls_port": self.tls_port,
                    "certificate": str(chain),
                    "key": str(key),
                    "secret": SECRET,
                    **turn,
                },
            },
        }
        path = stage.folder / "node.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.program: Program = stage.program("node", ["node", "--config", str(path)], admin=admin)

    async def start(self) -> "Node":
        self.program.start()
        await self.program.ready()
        return self

    async def client(self, way: str, user: tuple[str, str] | None = None) -> Client:
        user = user or credentials(SECRET, "PA_test")
        if way == "tls":
            return await Client.allocate(self.tls_port, user, transport="tcp", tls=True)
        return await Client.allocate(self.port, user, transport=way)


@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
async def test_data_goes_both_ways_and_only_to_peers_that_are_allowed(
    stage: Stage, way: str
) -> None:
    node = await Node(stage, allow_peers=["127.0.0.1/32"], relay_ports="42000-42100").start()
    echo = await Echo().start()
    client = await node.client(way)
    assert client.relayed[0] == "127.0.0.1"
    assert 42000 <= client.relayed[1] <= 42100
    # Odd lengths are padded on streams.
    for size in (1, 2, 3, 4, 1_200):
        client.send(bytes(size), echo.address)
        assert await client.next() == bytes(size)
    assert set(echo.senders) == {client.relayed}

    for denied in ("169.254.169.254", "10.0.0.1", "192.0.2.2", "8.8.8.8"):
        client.send(b"x", (denied, 53))
        assert await client.refused() == 403, denied
    client.close()
    await asyncio.wait_for(client.lost.wait(), 10)

    async def freed() -> bool:
        return await node.program.metric('anteroom_node_turn_allocations{node="n1"}') == 0

    await until("the allocation is gone", freed)


async def test_without_allowed_peers_the_media_port_is_the_only_one(stage: Stage) -> None:
    node = await Node(stage).start()
    echo = await Echo().start()
    client = await node.client("udp")
    client.send(b"x", echo.address)
    assert await client.refused() == 403
    client.send(b"x", ("127.0.0.1", node.media))
    await asyncio.sleep(0.5)
    assert client.errors.empty()
    assert echo.senders == []
    client.close()


async def test_credentials_must_be_ours_and_end(stage: Stage) -> None:
    node = await Node(stage, allow_peers=["127.0.0.1/32"]).start()
    for user in (
        credentials("another secret of some length", "PA_test"),
        credentials(SECRET, "PA_test", seconds=-1),
        ("PA_test", "x"),
    ):
        with pytest.raises(TransactionFailed) as refused:
            await node.client("udp", user)
        assert refused.value.response.error_code == 401, user
    echo = await Echo().start()
    client = await node.client("tcp", credentials(SECRET, "PA_test", seconds=4))
    client.send(b"x", echo.address)
    assert await client.next() == b"x"
    # It tries to go on, is refused, and gives up; the server has given it up as well.
    await asyncio.wait_for(client.lost.wait(), 20)


async def test_a_participant_has_so_many_addresses_and_no_more(stage: Stage) -> None:
    node = await Node(stage, allocations_per_user=2).start()
    clients = [await node.client(way) for way in ("udp", "tcp")]
    with pytest.raises(TransactionFailed) as refused:
        await node.client("udp")
    assert refused.value.response.error_code == 486
    other = await node.client("udp", credentials(SECRET, "PA_other"))
    clients[1].close()
    await asyncio.wait_for(clients[1].lost.wait(), 10)
    clients[1] = await node.client("tls")
    for client in (*clients, other):
        client.close()
    await asyncio.gather(*(client.lost.wait() for client in (*clients, other)))


async def test_a_new_certificate_is_used_without_a_restart(stage: Stage) -> None:
    node = await Node(stage).start()

    async def serial() -> str:
        # The name is in the certificate that the server shows.
        process = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"127.0.0.1:{node.tls_port}", "-showcerts",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await process.communicate()
        return out.decode().partition("subject=")[2].partition("\n")[0]

    assert NAME in await serial()
    certificate(stage.folder, "renewed.example.org")

    async def renewed() -> bool:
        return "renewed.example.org" in await serial()

    await until("the new certificate is shown", renewed, seconds=20)


def turn_config(folder: Path, tls_port: int) -> dict:
    chain, key = certificate(folder)
    return {
        "udp_port": free_port(),
        "tls_port": tls_port,
        "certificate": str(chain),
        "key": str(key),
    }


@pytest.mark.parametrize("single", [1, 0])
@pytest.mark.parametrize(
    ("urls", "protocol"),
    [("^turn:.*udp", "udp"), ("^turn:.*tcp", "tcp"), ("^turns:", "tls")],
)
async def test_browsers_meet_through_turn_alone(
    stage: Stage, urls: str, protocol: str, single: int
) -> None:
    cluster = await stage.cluster({"s1": 1}, node={"turn": turn_config(stage.folder, free_port())})
    # The certificate is of nobody that a browser trusts.
    browser = RelayOnly(urls, "--ignore-certificate-errors")
    try:
        query = f"autojoin=1&audio=1&video=1&single={single}"
        ada = await stage.page(f"{cluster.http}/standup?{query}&name=Ada", browser=browser)
        bob = await stage.page(f"{cluster.http}/standup?{query}&name=Bob", browser=browser)
        for page in (ada, bob):
            await page.sees()
            await page.hears()
            used = await ways(page)
            assert used, "no connection is in use"
            for kind, way, url in used:
                assert (kind, way) == ("relay", protocol), used
                assert re.match(urls, url), used
    finally:
        await browser.close()


async def test_whip_and_whep_clients_are_told_of_turn(stage: Stage) -> None:
    up = await stage.up()
    bearer = token("live", "obs")
    async with session(up.http, bearer) as encoder:
        answers: list[httpx.Response] = []

        async def note(response: httpx.Response) -> None:
            answers.append(response)

        encoder.http.event_hooks["response"].append(note)
        await encoder.publish("/r/live/whip")
        links = answers[0].headers.get_list("link")
        assert len(links) == 2, links
        for link, transport in zip(links, ("udp", "tcp"), strict=True):
            assert link.startswith("<turn:"), link
            assert f"?transport={transport}>" in link, link
            assert 'rel="ice-server"' in link, link
            assert 'credential-type="password"' in link, link


async def test_turn_and_https_share_a_port_by_the_name_that_clients_ask_for(stage: Stage) -> None:
    node = await Node(stage, allow_peers=["127.0.0.1/32"]).start()
    port, https, admin = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    chain, key = certificate(stage.folder, "meet.example.org")
    config = {
        **common(admin),
        "gateway": {
            "listen": [
                {
                    "address": f"127.0.0.1:{https}",
                    "tls": {"certificates": [{"cert": str(chain), "key": str(key)}]},
                }
            ],
            "internal": f"127.0.0.1:{free_port()}",
            "sni": {
                "listen": f"127.0.0.1:{port}",
                "routes": [{"names": [NAME], "upstream": f"127.0.0.1:{node.tls_port}"}],
                "default": f"127.0.0.1:{https}",
            },
            "shards": [{"id": "s1", "url": f"http://127.0.0.1:{free_port()}"}],
        },
    }
    path = stage.folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    gateway = stage.program("gateway", ["gateway", "--config", str(path)], admin=admin)
    gateway.start()

    async def answers() -> bool:
        return await gateway.answers("/livez")

    await until("the gateway runs", answers)
    echo = await Echo().start()
    user = credentials(SECRET, "PA_test")
    client = await Client.allocate(port, user, transport="tcp", tls=True, name=NAME)
    client.send(b"through", echo.address)
    assert await client.next() == b"through"
    client.close()
    async with httpx.AsyncClient(verify=False) as web:
        answer = await web.get(f"https://127.0.0.1:{port}/")
    # There is no shard: it is the gateway that says so.
    assert answer.status_code in (502, 503), answer.status_code
