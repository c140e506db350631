"""WHIP and WHEP with real clients: FFmpeg's muxer, aiortc, a page in Chromium."""

import httpx
from harness.browser import Page
from harness.resources import FRAGMENT, SDP, Session, encoder, session
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until
from livekit import rtc


async def frames(page: Page) -> int:
    """Pictures that a page's only video has shown."""
    return await page.page.evaluate(
        "() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
    )


async def plays(page: Page) -> None:
    """Waits until the page shows new pictures."""
    before = await frames(page)

    async def more() -> bool:
        return await frames(page) >= before + 5

    await until(f"{page.name} plays", more, seconds=20, state=page.story)


async def restart_ice(page: Page) -> None:
    """Its session goes on over a new ICE session."""
    path = """async () => {
      const stats = await session.peer.getStats();
      const transport = [...stats.values()].find((one) => one.type === "transport");
      const pair = stats.get(transport.selectedCandidatePairId);
      return pair && stats.get(pair.localCandidateId).usernameFragment;
    }"""
    before = await page.page.evaluate(path)
    await page.page.evaluate("() => restart()")

    async def renewed() -> bool:
        return await page.page.evaluate(path) not in (before, None)

    await until("media goes over the new ICE session", renewed, seconds=10, state=page.story)


async def test_an_encoder_is_seen_by_participants_and_by_a_page_that_stays(stage: Stage) -> None:
    up = await stage.up()
    bob = await stage.peer(up.ws, "live", "bob", audio=False, video=False)
    watcher = token("live", "page", can_publish=False)
    # It is there before anybody sends.
    page = await stage.page(f"{up.http}/r/live/watch#token={watcher}", ready=False)
    await until("the page is in the room", lambda: "page" in bob.room.remote_participants)

    for take in range(2):
        url = f"{up.http}/r/live/whip"
        async with encoder(url, token("live", "obs"), stage.folder) as obs:
            await bob.sees("obs", seconds=20)
            await bob.hears("obs", seconds=20)
            await plays(page)
            await restart_ice(page)
            await plays(page)
            who = bob.room.remote_participants["obs"]
            assert who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS, who.kind
            sources = {track.source for track in who.track_publications.values()}
            assert sources == {rtc.TrackSource.SOURCE_CAMERA, rtc.TrackSource.SOURCE_MICROPHONE}
            await obs.stop()
        await until(
            "bob sees it go",
            lambda take=take: len(bob.happened("participant_disconnected")) == take + 1,
            seconds=5,
        )
    # The same session saw both: nothing was asked for anew.
    of_page = [name for _, name, who in bob.events if who == "page"]
    assert of_page == ["participant_connected"], bob.story()
    await page.close()
    await until("the page leaves", lambda: "page" not in bob.room.remote_participants, seconds=5)


async def test_aiortc_publishes_and_watches(stage: Stage) -> None:
    up = await stage.up()
    bob = await stage.peer(up.ws, "live", "bob", audio=False, video=False)
    async with (
        session(up.http, token("live", "sender")) as sender,
        session(up.http, token("live", "viewer", hidden=True)) as viewer,
    ):
        await sender.publish("/whip/v1")
        await viewer.watch("/r/live/whep")
        assert sender.location.startswith("/whip/v1/")
        assert viewer.location.startswith("/r/live/whep/")
        await bob.sees("sender", seconds=20)
        await bob.hears("sender", seconds=20)
        await viewer.receives()
        assert "viewer" not in bob.room.remote_participants
        await trickle(sender)
        assert (await sender.end()).status_code == 200
        await until("sender is gone", lambda: "sender" not in bob.room.remote_participants)
        assert (await sender.end()).status_code == 404
        # The client hears it by DTLS.
        await until("its transport ends", lambda: closed(sender), seconds=5)

        # Another one takes its place, without a word to the viewer.
        async with session(up.http, token("live", "second")) as second:
            await second.publish("/r/live/whip")
            await viewer.receives()
            # It goes without DELETE: DTLS says so.
            await second.connection.close()
            await until(
                "second is gone", lambda: "second" not in bob.room.remote_participants, seconds=5
            )


def closed(one: Session) -> bool:
    """Whether the server has closed DTLS."""
    transports = [t.sender.transport.state for t in one.connection.getTransceivers()]
    return all(state in ("closed", "failed") for state in transports)


async def trickle(one: Session) -> None:
    """Candidates are taken, and ICE restarts, under the rules of RFC 9725."""
    sdp = one.connection.localDescription.sdp
    lines = [line for line in sdp.splitlines() if line.startswith(("a=ice-ufrag", "a=ice-pwd"))]
    same = "\r\n".join([*dict.fromkeys(lines), "m=audio 9 RTP/AVP 0", "a=mid:0", ""])

    async def patch(if_match: str | None, body: str, **headers: str) -> httpx.Response:
        sent = {"content-type": FRAGMENT, **headers}
        if if_match:
            sent["if-match"] = if_match
        return await one.http.patch(one.location, content=body, headers=sent)

    assert (await patch(one.tag, same)).status_code == 204
    assert (await patch(None, same)).status_code == 428
    assert (await patch('"other"', same)).status_code == 412
    assert (await patch(one.tag, "v=0")).status_code == 400
    assert (await patch(one.tag, same, **{"content-type": SDP})).status_code == 415
    fresh = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    restarted = await patch("*", fresh)
    assert (restarted.status_code, restarted.headers["content-type"]) == (200, FRAGMENT)
    assert restarted.headers["etag"] not in (one.tag, "")
    assert "a=ice-ufrag:" in restarted.text
    assert (await patch(one.tag, fresh)).status_code == 412


async def test_refusals_name_cause_and_cure(stage: Stage) -> None:
    up = await stage.up()
    offer = (
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n"
        "a=ice-pwd:0123456789012345678901\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    )

    async def post(path: str, bearer: str, body: str = offer, kind: str = SDP) -> httpx.Response:
        headers = {"authorization": f"Bearer {bearer}", "content-type": kind}
        return await client.post(path, content=body, headers=headers)

    good = token("live", "obs")
    listener = token("live", "obs", can_publish=False)
    deaf = token("live", "obs", can_subscribe=False)
    async with httpx.AsyncClient(base_url=up.http, timeout=20) as client:
        for path, bearer, body, kind, status, word in [
            ("/r/live/whip", "x", offer, SDP, 401, "token"),
            ("/r/other/whip", good, offer, SDP, 400, "must be the same"),
            ("/r/live/whip", listener, offer, SDP, 403, "video.canPublish"),
            ("/r/live/whep", deaf, offer, SDP, 403, "video.canSubscribe"),
            ("/r/live/whip", good, offer, "text/plain", 415, SDP),
            ("/r/live/whip", good, "hello", SDP, 400, "v=0"),
            ("/r/live/whip", good, offer + "a=recvonly\r\n", SDP, 422, "whep"),
            ("/r/live/whip", good, offer, SDP, 422, "fingerprint"),
            ("/r/live/whip", good, "v=0" + " " * 70_000, SDP, 413, "65536"),
        ]:
            answer = await post(path, bearer, body, kind)
            assert answer.status_code == status, (path, answer.status_code, answer.text)
            assert word in answer.text, answer.text
            assert answer.headers["access-control-allow-origin"] == "*"
        for method in ("GET", "PUT"):
            answer = await client.request(
                method, "/r/live/whip", headers={"authorization": f"Bearer {good}"}
            )
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
        options = await client.options("/r/live/whip")
        assert options.headers["accept-post"] == SDP
        assert "PATCH" in options.headers["access-control-allow-methods"]
        # Nobody is left behind.
        rooms = (await client.get(f"http://{up.program.admin}/v1/rooms")).json()["rooms"]
        assert sum(room["participants"] for room in rooms) == 0, rooms
