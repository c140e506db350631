"""The connection test in a browser says what is broken, and for whom."""

import re

from harness.browser import NO_UDP, Chromium, Page
from harness.ports import free_port
from harness.stage import Stage

PATH = "/settings/connection"
LOOPBACK = {"bind": ["127.0.0.1"]}


async def verdict_of(page: Page) -> str:
    """Runs the test; its verdict."""
    await page.click("start")
    verdict = page.page.get_by_test_id("verdict")
    await page.shows("details.report", seconds=120)
    return await verdict.inner_text()


async def status(page: Page, step: str) -> str:
    return await page.page.get_by_test_id(f"step-{step}").locator(".step-status").inner_text()


async def report(page: Page) -> str:
    return await page.page.get_by_test_id("report").text_content() or ""


async def test_a_healthy_server_works_in_all_ways(stage: Stage) -> None:
    turn = {"udp_port": free_port()}
    cluster = await stage.cluster({"s1": 1}, node={**LOOPBACK, "turn": turn})
    page = await stage.page(f"{cluster.http}/", ready=False)
    await page.page.get_by_role("link", name="Test my connection").click()
    await page.says("Tries what a meeting needs")
    assert await verdict_of(page) == "Everything works"
    for step in (
        "server", "token", "websocket", "udp", "tcp", "relay-udp", "relay-tcp", "microphone",
        "camera",
    ):  # fmt: skip
        assert await status(page, step) == "Works", await report(page)
    assert await status(page, "relay-tls") == "Not tested"
    assert "shard s1" in await report(page)
    assert not [line for line in page.story().splitlines() if "error" in line], page.story()


async def test_without_udp_it_works_by_a_detour(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1}, node=LOOPBACK)
    browser = Chromium(*NO_UDP)
    try:
        page = await stage.page(f"{cluster.http}{PATH}", ready=False, browser=browser)
        assert await verdict_of(page) == "It works, by a detour"
        assert await status(page, "udp") == "Does not work", await report(page)
        assert await status(page, "tcp") == "Works"
        assert "UDP is blocked" in await page.page.get_by_test_id("verdict-text").inner_text()
    finally:
        await browser.close()


async def test_media_that_cannot_arrive_is_told_with_its_port(stage: Stage) -> None:
    wrong = free_port()
    node = {**LOOPBACK, "advertise": [f"127.0.0.1:{wrong}"]}
    cluster = await stage.cluster({"s1": 1}, node=node)
    page = await stage.page(f"{cluster.http}{PATH}#room=standup", ready=False)
    assert await verdict_of(page) == "Sound and pictures do not get through"
    assert f"UDP port {wrong}" in await report(page)
    assert "node.advertise" in await report(page)
    await page.says("Back to standup")


async def test_without_tokens_the_rest_is_tested(stage: Stage) -> None:
    web = {"enabled": True, "tokens": False}
    fleet = await stage.fleet(gateways=1, shards=1, shard_options={"web": web})
    page = await stage.page(f"{fleet.http}{PATH}", ready=False)
    assert await verdict_of(page) == "What could be tested works"
    assert await status(page, "server") == "Works"
    assert await status(page, "token") == "Not tested"
    assert await status(page, "microphone") == "Works"
    assert "application" in await report(page)


async def test_a_shard_that_is_down_is_named(stage: Stage) -> None:
    cluster = await stage.cluster({"s1": 1, "s2": 1}, node=LOOPBACK)
    page = await stage.page(f"{cluster.http}{PATH}", ready=False)
    await page.says("Tries what a meeting needs")
    # Both have their leases; the gateway looks for them in another place.
    cluster.listen = {name: f"127.0.0.1:{free_port()}" for name in cluster.listen}
    cluster.write({"s1": 1, "s2": 1})
    answer = await cluster.gateway.post("/v1/reload")
    assert answer.status_code == 200, answer.text
    assert await verdict_of(page) == "The server cannot be used"
    assert re.search(r"answers 50\d for the room’s shard \(shard s[12]\)", await report(page))
