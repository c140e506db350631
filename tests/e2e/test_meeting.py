"""Meetings: browsers and native clients see, hear and read each other."""

import asyncio

import pytest
from harness.browser import NO_UDP, Chromium, Page
from harness.peer import HEIGHT, WIDTH, Peer
from harness.stage import Cluster, Stage, Up
from harness.wait import until

# What the fake camera is sent as: the layers of a 16:9 picture.
ASPECT = 16 / 9


def meeting(up: Up | Cluster, room: str, name: str, **options: object) -> str:
    """The meeting URL with everything switched on."""
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return f"{up.http}/{room}?autojoin=1&name={name}&audio=1&video=1&{query}"


def assert_right_size(video: dict) -> None:
    width, height = video["width"], video["height"]
    assert width >= 160, f"{width} x {height}"
    assert abs(width / height - ASPECT) < 0.05, f"{width} x {height}"


async def both_ways(ada: Page, bob: Page) -> None:
    """Each page plays the other's picture and sound."""
    for one, other in ((ada, "Bob"), (bob, "Ada")):
        video = await one.sees()
        assert_right_size(video)
        await one.hears()
        await one.says(other)


async def open_chat(page: Page) -> None:
    """Opens the chat panel, unless it is open."""
    if not await page.page.get_by_test_id("chat-input").is_visible():
        await page.click("chat-button")


async def send_chat(page: Page, text: str) -> None:
    """Writes a chat message as a person does."""
    await open_chat(page)
    field = page.page.get_by_test_id("chat-input")
    await field.fill(text)
    await field.press("Enter")


@pytest.mark.parametrize(("single", "path"), [(1, "/rtc/v1"), (0, "/rtc")])
async def test_two_browsers_meet(stage: Stage, single: int, path: str) -> None:
    up = await stage.up()
    ada = await stage.page(meeting(up, "standup", "Ada", single=single))
    bob = await stage.page(meeting(up, "standup", "Bob", single=single))
    await both_ways(ada, bob)
    for page in (ada, bob):
        assert all(used.endswith(path) for used in page.signalling()), page.signalling()
        assert page.signalling(), "no signalling WebSocket was opened"

    await open_chat(bob)
    await send_chat(ada, "hello from Ada")
    await bob.says("hello from Ada")

    tile = f"[data-testid='tile-{await ada.identity()}']"
    await bob.shows(f"{tile}[data-muted-audio=false]")
    await ada.click("mute-button")
    await bob.shows(f"{tile}[data-muted-audio=true] .tile-muted")
    await ada.click("mute-button")
    await bob.shows(f"{tile}[data-muted-audio=false]")
    await bob.hears()

    await ada.click("camera-button")
    await bob.shows(f"{tile}[data-muted-video=true]")
    await ada.click("leave-button")
    await ada.shows("[data-testid=end-page]")
    await bob.page.locator(tile).wait_for(state="detached")


@pytest.mark.parametrize(("single", "path"), [(1, "/rtc/v1"), (0, "/rtc")])
async def test_a_browser_and_a_native_client_meet(stage: Stage, single: int, path: str) -> None:
    up = await stage.up()
    ada = await stage.page(meeting(up, "standup", "Ada", single=single))
    bob = await stage.peer(up.ws, "standup", "bob", single=bool(single))
    video = await ada.sees("bob")
    assert_right_size(video)
    await ada.hears("bob")

    identity = await ada.identity()
    await bob.sees(identity)
    await bob.hears(identity)
    width, height = bob.incoming[identity].size or (0, 1)
    assert_right_size({"width": width, "height": height})
    assert all(used.endswith(path) for used in ada.signalling()), ada.signalling()

    await open_chat(ada)
    await bob.chat("hello from Bob")
    await ada.says("hello from Bob")
    await send_chat(ada, "hello from Ada")
    await until("the chat message arrives", lambda: (identity, "hello from Ada") in bob.chats())

    await ada.click("mute-button")
    await until("the mute is told", lambda: bob.happened("track_muted"), state=bob.story)
    await ada.click("mute-button")
    await until("the unmute is told", lambda: bob.happened("track_unmuted"), state=bob.story)


@pytest.mark.parametrize("single", [True, False])
async def test_native_clients_exchange_media_and_data(stage: Stage, single: bool) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", single=single)
    bob = await stage.peer(up.ws, "standup", "bob", single=single)
    for one, other in ((ann, bob), (bob, ann)):
        await one.sees(other.identity)
        await one.hears(other.identity)
        assert one.incoming[other.identity].size == (WIDTH, HEIGHT)
    for reliable in (True, False):
        text = f"reliable={reliable}"

        async def sent(text: str = text, reliable: bool = reliable) -> bool:
            # Lossy packets may be lost: say it again.
            await ann.say(text, reliable=reliable)
            return ("ann", "test", text.encode()) in bob.data

        await until(f"a packet arrives, {text}", sent, every=0.5)


async def test_a_mute_stops_the_sound_and_is_told(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", video=False)
    bob = await stage.peer(up.ws, "standup", "bob", video=False)
    await bob.hears("ann")
    assert ann.microphone is not None
    ann.microphone.mute()
    await until("the mute is told", lambda: bob.happened("track_muted"), state=bob.story)

    async def silent() -> bool:
        return await is_silent(bob, "ann")

    await until("the sound stops", silent)
    ann.microphone.unmute()
    await bob.hears("ann")


async def is_silent(peer: Peer, identity: str) -> bool:
    """Whether half a second passes without a sound."""
    before = peer.incoming[identity].loud
    await asyncio.sleep(0.5)
    return peer.incoming[identity].loud == before


async def test_the_second_of_one_identity_replaces_the_first(stage: Stage) -> None:
    up = await stage.up()
    first = await stage.peer(up.ws, "standup", "ann", audio=False, video=False)
    await stage.peer(up.ws, "standup", "ann", audio=False, video=False)
    await until("the first is sent away", lambda: first.happened("disconnected"), state=first.story)
    (_, _, reason) = first.happened("disconnected")[0]
    assert reason == "DUPLICATE_IDENTITY"


async def test_a_simulcast_picture_of_a_native_client_arrives(stage: Stage) -> None:
    up = await stage.up()
    await stage.peer(up.ws, "standup", "ann", audio=False, simulcast=True)
    bob = await stage.peer(up.ws, "standup", "bob", audio=False, video=False)
    await bob.sees("ann")
    width, height = bob.incoming["ann"].size or (0, 1)
    assert abs(width / height - ASPECT) < 0.05


async def test_browsers_meet_over_tcp_where_udp_is_blocked(stage: Stage) -> None:
    # Without TURN, which is tried before TCP: on a quick machine it is there first.
    cluster = await stage.cluster({"s1": 1})
    browser = Chromium(*NO_UDP)
    try:
        ada = await stage.page(meeting(cluster, "standup", "Ada"), browser=browser)
        bob = await stage.page(meeting(cluster, "standup", "Bob"), browser=browser)
        await both_ways(ada, bob)

        # Nodes report once a second, and a meeting takes less.
        async def are_over_tcp() -> bool:
            return await cluster.shards["s1"].metric("anteroom_node_tcp_connections") >= 2

        await until("media goes over TCP", are_over_tcp, seconds=10)
    finally:
        await browser.close()


@pytest.mark.parametrize("codec", ["h264", "vp9", "vp8"])
async def test_a_camera_is_published_again_with_another_codec(stage: Stage, codec: str) -> None:
    up = await stage.up()
    ada = await stage.page(meeting(up, "standup", "Ada", adaptive=0))
    bob = await stage.page(meeting(up, "standup", "Bob", adaptive=0))
    await both_ways(ada, bob)

    # The browser makes up a new track id: the first sender still has the camera's own.
    await ada.page.evaluate(
        """async (codec) => {
            const me = window.anteroom.room.localParticipant;
            const { track } = [...me.videoTrackPublications.values()][0];
            await me.unpublishTrack(track, false);
            await me.publishTrack(track, { videoCodec: codec, source: "camera" });
        }""",
        codec,
    )

    async def received() -> str:
        return await bob.page.evaluate(
            """async () => {
                const [ada] = window.anteroom.room.remoteParticipants.values();
                const [camera] = ada.videoTrackPublications.values();
                const stats = await camera?.track?.getReceiverStats();
                return stats?.framesDecoded > 5 ? stats.mimeType.toLowerCase() : "";
            }"""
        )

    async def plays() -> bool:
        return await received() == f"video/{codec}"

    await until(f"Bob plays {codec}", plays, state=bob.story)
