"""Who gets how much: layers that nobody wants are not sent, rooms that show the last speakers only or
hear the loudest only, and how good connections are said to be."""

import asyncio

import pytest
from harness.browser import Page
from harness.peer import Peer
from harness.stage import Stage
from harness.tokens import claims, forge
from harness.wait import until

# Frames sent so far, by RID, of the camera of a page.
_SENT = """async () => {
  const room = window.anteroom.room;
  const sent = {};
  for (const one of room.localParticipant.videoTrackPublications.values()) {
    const report = await one.track.sender.getStats();
    for (const stats of report.values())
      if (stats.type === "outbound-rtp") sent[stats.rid ?? ""] = stats.framesSent ?? 0;
  }
  return sent;
}"""
_WANT = """(quality) => {
  for (const who of window.anteroom.room.remoteParticipants.values())
    for (const one of who.videoTrackPublications.values()) one.setVideoQuality(quality);
}"""
_RATED = """() => {
  const room = window.anteroom.room;
  const all = [room.localParticipant, ...room.remoteParticipants.values()];
  return Object.fromEntries(all.map((who) => [who.identity, who.connectionQuality]));
}"""
LOW, HIGH = 0, 2


async def moving(page: Page, seconds: float = 1.5) -> set[str]:
    """The layers of which a page sends frames."""
    before = await page.page.evaluate(_SENT)
    await asyncio.sleep(seconds)
    after = await page.page.evaluate(_SENT)
    return {rid for rid in after if after[rid] > before.get(rid, 0)}


async def sends(page: Page, layers: set[str]) -> None:
    """Waits until a page sends exactly these layers."""
    last: list[set[str]] = []

    async def exactly() -> bool:
        last[:] = [await moving(page)]
        return last[0] == layers

    await until(f"{page.name} sends {layers}", exactly, seconds=40, state=lambda: str(last))


async def test_a_browser_stops_sending_layers_that_nobody_looks_at(stage: Stage) -> None:
    up = await stage.up()
    url = f"{up.http}/dynacast?autojoin=1&audio=0"
    ada = await stage.page(f"{url}&name=Ada&video=1")
    # Its tiles would ask by their size.
    bob = await stage.page(f"{url}&name=Bob&video=0&adaptive=0")
    await bob.sees()
    await bob.page.evaluate(_WANT, HIGH)
    await sends(ada, {"q", "h", "f"})
    await bob.page.evaluate(_WANT, LOW)
    await sends(ada, {"q"})
    await bob.sees()
    await bob.page.evaluate(_WANT, HIGH)
    await sends(ada, {"q", "h", "f"})
    await bob.close()
    await sends(ada, set())


async def test_everybody_learns_how_good_connections_are(stage: Stage) -> None:
    up = await stage.up()
    url = f"{up.http}/rated?autojoin=1&audio=1&video=0"
    ada = await stage.page(f"{url}&name=Ada")
    bob = await stage.page(f"{url}&name=Bob")
    for page in (ada, bob):

        async def rated(page: Page = page) -> bool:
            qualities = await page.page.evaluate(_RATED)
            return len(qualities) == 2 and set(qualities.values()) == {"excellent"}

        await until(f"{page.name} shows two excellent connections", rated, seconds=40)


async def crowd(stage: Stage, room: str, config: dict, names: tuple[str, ...]) -> dict[str, Peer]:
    """Native participants, whose tokens say what the room is like."""
    up = await stage.up()
    peers = {}
    for name in names:
        access = forge(claims(room, name, roomConfig=config))
        peers[name] = await stage.peer(up.ws, room, name, access_token=access, small=True)
    return peers


async def arriving(peer: Peer, kind: str, others: list[str], seconds: float = 2.0) -> set[str]:
    """Those of whom pictures or sound come."""
    field = {"video": "video", "audio": "loud"}[kind]
    before = {who: getattr(peer.incoming[who], field) for who in others}
    await asyncio.sleep(seconds)
    return {who for who in others if getattr(peer.incoming[who], field) > before[who] + 2}


@pytest.mark.parametrize(("config", "kind"), [({"lastN": 1}, "video"), ({"loudestN": 1}, "audio")])
async def test_a_room_shows_the_last_speaker_or_hears_the_loudest_only(
    stage: Stage, config: dict, kind: str
) -> None:
    names = ("ann", "bob", "cat", "dan")
    peers = await crowd(stage, "selected", config, names)
    last: dict[str, set[str]] = {}

    async def one_each() -> bool:
        for name, peer in peers.items():
            others = [other for other in names if other != name]
            last[name] = await arriving(peer, kind, others)
        return all(len(got) <= 1 for got in last.values()) and any(last.values())

    await until("nobody gets more than one", one_each, seconds=60, state=lambda: str(last))
    # The rest of the room comes through.
    other = "audio" if kind == "video" else "video"
    got = await arriving(peers["dan"], other, ["ann", "bob", "cat"], 4.0)
    assert got == {"ann", "bob", "cat"}, got


# Publishes a camera of which one stream carries all resolutions.
_SCALABLE = """async (codec) => {
  const video = { width: 640, height: 360 };
  const stream = await navigator.mediaDevices.getUserMedia({ video });
  const [track] = stream.getVideoTracks();
  const options = { videoCodec: codec, scalabilityMode: "L3T3_KEY", backupCodec: false };
  await window.anteroom.room.localParticipant.publishTrack(track, { source: "camera", ...options });
}"""
# The modes of the streams that are sent, and their codecs.
_MODES = """async () => {
  const modes = [];
  for (const one of window.anteroom.room.localParticipant.videoTrackPublications.values()) {
    const report = await one.track.sender.getStats();
    for (const stats of report.values())
      if (stats.type === "outbound-rtp")
        modes.push([report.get(stats.codecId)?.mimeType, stats.scalabilityMode]);
  }
  return modes;
}"""


async def grows_to(page: Page, who: str, width: int) -> None:
    """Waits until the picture of a participant on a page is so wide, and moves."""
    last: list[dict] = []

    async def is_wide() -> bool:
        last[:] = [await page.sees(who)]
        return last[0]["width"] == width

    await until(f"{page.name} sees {width}", is_wide, seconds=60, state=lambda: str(last))


@pytest.mark.parametrize("codec", ["vp9", "av1"])
async def test_a_browser_gets_the_resolution_that_it_asks_for_of_one_stream(
    stage: Stage, codec: str
) -> None:
    up = await stage.up()
    url = f"{up.http}/scalable?autojoin=1&audio=0&video=0&adaptive=0"
    ada, bob, cat = [await stage.page(f"{url}&name={name}") for name in ("Ada", "Bob", "Cat")]
    camera = await ada.identity()
    await ada.page.evaluate(_SCALABLE, codec)
    for page in (bob, cat):
        await grows_to(page, camera, 640)
    modes = await ada.page.evaluate(_MODES)
    assert len(modes) == 1, modes
    assert modes[0][0].lower() == f"video/{codec}", modes
    # A browser leaves out layers that would be too small.
    assert modes[0][1].startswith(("L3", "L2")), modes
    await bob.page.evaluate(_WANT, LOW)
    await grows_to(bob, camera, 640 // 2 if modes[0][1].startswith("L2") else 640 // 4)
    await grows_to(cat, camera, 640)
    await bob.page.evaluate(_WANT, HIGH)
    await grows_to(bob, camera, 640)
