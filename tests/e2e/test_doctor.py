"""`anteroom doctor` names the link that is broken, one after the other."""

from pathlib import Path

import httpx
import pytest
import yaml
from harness import faketime
from harness.doctor import Stripping, diagnose
from harness.faketime import Clock
from harness.fleet import common
from harness.ports import free_port
from harness.program import command
from harness.relay import Relay
from harness.stage import Cluster, Stage
from harness.tokens import token
from harness.turn import certificate
from harness.wait import until

# Media stays where nothing of this machine's network is in the way.
LOOPBACK = {"bind": ["127.0.0.1"]}
EVERYTHING = {
    "name", "tcp", "http", "websocket", "token", "join", "udp", "ice-tcp", "turn-udp", "turn-tcp",
    "turn-tls", "dtls", "data", "media",
}  # fmt: skip


def turn(folder: Path) -> dict:
    """A relay with TLS, and a certificate for it."""
    chain, key = certificate(folder)
    return {
        "udp_port": free_port(),
        "tls_port": free_port(),
        "certificate": str(chain),
        "key": str(key),
    }


async def cluster(stage: Stage, **node: object) -> Cluster:
    return await stage.cluster({"s1": 1}, node={**LOOPBACK, **node})


async def test_a_healthy_deployment_is_ok_in_every_link(stage: Stage) -> None:
    healthy = await cluster(stage, turn=turn(stage.folder))
    trust = {"SSL_CERT_FILE": str(stage.folder / "turn.pem")}
    found = await diagnose(healthy.http, environment=trust)
    statuses = found.statuses()
    assert {hop for hop, those in statuses.items() if those == {"ok"}} == EVERYTHING, found.report
    assert statuses["tls"] == {"skipped"}
    assert (found.code, found.summary, found.broken_at) == (0, "ok", None)
    assert "shard s1" in found.step("http")["says"]
    assert "node s1-n1" in found.step("join")["says"]
    assert "of 100 packets" in found.step("media")["says"]

    # Nobody trusts the relay's certificate, and nobody needs it here.
    found = await diagnose(healthy.http)
    assert found.code == 0
    assert found.step("turn-tls")["status"] == "failed"
    assert "TURN/TLS does not work" in found.warnings[0]


async def test_steps_and_summary_are_text_for_people(stage: Stage) -> None:
    healthy = await cluster(stage)
    code, out, error = await command("doctor", f"{healthy.http}/standup")
    assert code == 0, out + error
    lines = out.splitlines()
    assert lines[0].startswith("ok       name"), out
    assert lines[-1] == "ok", out
    found = await diagnose(f"https://{healthy.bind}", seconds=2)
    assert found.broken_at == "tls"
    assert "does not speak TLS" in found.summary
    code, _, error = await command("doctor", "ftp://host")
    assert code == 2
    assert "neither http nor https" in error


async def test_media_that_is_told_a_wrong_port_is_broken_at_udp(stage: Stage) -> None:
    wrong = f"127.0.0.1:{free_port()}"
    broken = await cluster(stage, advertise=[wrong])
    found = await diagnose(broken.http)
    assert (found.code, found.broken_at) == (1, "udp")
    assert f"broken at: UDP: {wrong}" in found.summary
    assert "neither by ICE-TCP" in found.summary
    assert "node.advertise" in found.step("udp")["fix"]
    assert found.statuses()["media"] == {"skipped"}


async def test_udp_that_is_blocked_is_a_warning_where_tcp_carries(stage: Stage) -> None:
    media = free_port()
    # TCP is passed on to the node; nobody listens there by UDP.
    relay = await stage.enter(Relay(f"127.0.0.1:{media}"))
    detour = await cluster(stage, udp_port=media, advertise=[relay.address])
    found = await diagnose(detour.http)
    assert found.code == 0, found.report
    assert found.step("udp")["status"] == "failed"
    assert "UDP is blocked, ICE-TCP carries media" in found.warnings[0]
    assert "ICE-TCP" in found.step("dtls")["says"]
    assert found.step("media")["status"] == "ok"


async def test_a_wrong_secret_is_broken_at_the_token(stage: Stage) -> None:
    up = await stage.up("--shards", "1")
    found = await diagnose(up.http, "--api-secret", "another")
    assert (found.code, found.broken_at) == (1, "token")
    assert "signature is wrong" in found.summary
    assert "--api-secret" in found.step("token")["fix"]
    found = await diagnose(up.http, "--api-key", "nobody")
    assert found.broken_at == "token"
    assert "--api-key" in found.step("token")["fix"]

    # One's own token is enough where the server gives the second participant one.
    found = await diagnose(up.http, "--token", token("standup", "ann"))
    assert found.code == 0, found.report
    assert found.report["room"] == "standup"
    assert found.step("media")["status"] == "ok"


async def test_a_gateway_that_is_down_is_broken_at_tcp(stage: Stage) -> None:
    port = free_port()
    found = await diagnose(f"http://127.0.0.1:{port}")
    assert (found.code, found.broken_at) == (1, "tcp")
    assert f"TCP port {port}" in found.step("tcp")["fix"]
    found = await diagnose("http://nowhere.invalid")
    assert found.broken_at == "name"


async def test_a_shard_that_cannot_be_reached_is_named(stage: Stage) -> None:
    broken = await cluster(stage)
    # It has its lease; the gateway looks for it in another place.
    broken.listen["s1"] = f"127.0.0.1:{free_port()}"
    broken.write({"s1": 1})
    answer = await broken.gateway.post("/v1/reload")
    assert answer.status_code == 200, answer.text
    found = await diagnose(broken.http)
    assert (found.code, found.broken_at) == (1, "http")
    assert "shard s1" in found.summary
    assert "start shard s1" in found.step("http")["fix"]


async def test_a_proxy_that_takes_the_upgrade_away_is_broken_at_the_websocket(
    stage: Stage,
) -> None:
    healthy = await cluster(stage)
    proxy = await stage.enter(Stripping(healthy.bind))
    found = await diagnose(f"http://{proxy.address}")
    assert (found.code, found.broken_at) == (1, "websocket")
    assert "Upgrade" in found.summary
    assert "proxy_set_header" in found.step("websocket")["fix"]


async def test_a_certificate_is_looked_at(stage: Stage) -> None:
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    chain, key = certificate(stage.folder, "meet.example.org")
    tls = {"certificates": [{"cert": str(chain), "key": str(key)}]}
    config = {
        **common(admin),
        "gateway": {
            "listen": [{"address": f"127.0.0.1:{port}", "tls": tls}],
            "internal": f"127.0.0.1:{free_port()}",
            "shards": [{"id": "s1", "url": f"http://127.0.0.1:{free_port()}"}],
        },
    }
    path = stage.folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    gateway = stage.program("gateway", ["gateway", "--config", str(path)], admin=admin)
    gateway.start()

    async def answers() -> bool:
        async with httpx.AsyncClient(verify=False) as web:
            try:
                return (await web.get(f"https://127.0.0.1:{port}/")).status_code > 0
            except httpx.HTTPError:
                return False

    await until("the gateway runs", answers)
    trust = {"SSL_CERT_FILE": str(chain)}
    found = await diagnose(f"https://127.0.0.1:{port}", environment=trust)
    assert found.step("tls")["status"] == "ok", found.report
    assert "the certificate ends in" in found.warnings[0]
    assert found.broken_at == "http", "there is no shard"
    found = await diagnose(f"https://127.0.0.1:{port}")
    assert found.broken_at == "tls"
    assert "signed itself" in found.summary
    found = await diagnose(f"https://localhost:{port}", environment=trust)
    assert found.broken_at == "tls"
    assert "not for localhost but for" in found.summary
    found = await diagnose(f"http://127.0.0.1:{port}")
    assert found.broken_at == "http"
    assert "scheme" in found.step("http")["fix"]


@pytest.mark.skipif(faketime.unavailable() is not None, reason=str(faketime.unavailable()))
async def test_a_clock_that_is_off_is_told(stage: Stage) -> None:
    up = await stage.up("--shards", "1")
    clock = Clock(stage.folder, "doctor")
    clock.set(50)
    found = await diagnose(up.http, environment=clock.environment())
    assert found.code == 0, found.report
    assert "ahead of the server's" in found.warnings[0]
    clock.set(1000)
    found = await diagnose(up.http, environment=clock.environment())
    assert found.broken_at == "token"
    assert "not valid yet" in found.summary
    assert "clocks differ" in found.step("token")["fix"]
