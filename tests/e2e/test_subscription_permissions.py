"""A participant chooses who may receive its tracks. The others lose them, are told so, and get them back
when it changes its mind."""

import asyncio

from harness.browser import Page
from harness.peer import Peer
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until
from livekit import rtc

# Writes down what the page is told about tracks that it may or may not have.
_NOTE = """() => {
  window.told = [];
  window.anteroom.room.on("trackSubscriptionPermissionChanged", (publication, status) =>
    window.told.push([publication.trackSid, status]));
}"""
_ALLOW_ONLY = """(identity) =>
  window.anteroom.room.localParticipant.setTrackSubscriptionPermissions(
    identity === null, identity === null ? [] : [{ participantIdentity: identity, allowAll: true }])
"""


def sid_of(peer: Peer, kind: "rtc.TrackKind.ValueType") -> str:
    """The sid of the only track of a kind that a peer publishes."""
    tracks = peer.room.local_participant.track_publications.values()
    (sid,) = [track.sid for track in tracks if track.kind == kind]
    return sid


async def is_told(page: Page, *expected: list[str]) -> None:
    """Waits until a page was told exactly this since the start of the notes."""

    async def told() -> list[list[str]]:
        return await page.page.evaluate("() => window.told")

    async def is_all() -> bool:
        return await told() == list(expected)

    await until(f"{page.name} is told {expected}", is_all, state=page.story)


async def gets_no_sound(peer: Peer, identity: str) -> bool:
    """Whether nothing arrives for a second, not even silence. The native client has no event for it."""
    before = peer.incoming[identity].audio
    await asyncio.sleep(1)
    return peer.incoming[identity].audio == before


async def all_hear(identity: str, *peers: Peer) -> None:
    """Waits for all at once: the fake microphone of a browser beeps once a second."""
    await asyncio.gather(*(peer.hears(identity) for peer in peers))


async def test_who_may_have_one_track_loses_the_other_and_gets_it_back(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", small=True, fps=10)
    bob = await stage.peer(up.ws, "standup", "bob", audio=False, video=False)
    access = token("standup", "cat")
    cat = await stage.page(f"{up.http}/standup?autojoin=1&audio=0&video=0#token={access}")
    await cat.page.evaluate(_NOTE)
    for one in (bob, cat):
        await one.sees("ann")
    sound, picture = [
        sid_of(ann, kind) for kind in (rtc.TrackKind.KIND_AUDIO, rtc.TrackKind.KIND_VIDEO)
    ]

    ann.room.local_participant.set_track_subscription_permissions(
        allow_all_participants=False,
        participant_permissions=[
            rtc.ParticipantTrackPermission(participant_identity="bob", allow_all=True),
            rtc.ParticipantTrackPermission(
                participant_identity="cat", allow_all=False, allowed_track_sids=[sound]
            ),
        ],
    )
    await is_told(cat, [picture, "not_allowed"])

    async def has_no_picture() -> bool:
        found = await cat.of("ann")
        return found is not None and found["video"] is None

    await until("Cat's picture ends", has_no_picture, state=cat.story)
    await cat.hears("ann")
    await bob.sees("ann")
    await bob.hears("ann")
    assert not bob.happened("track_unsubscribed"), bob.story()
    assert await has_no_picture()

    ann.room.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    await is_told(cat, [picture, "not_allowed"], [picture, "allowed"])
    await cat.sees("ann")


async def test_a_browser_lets_one_listener_only_have_its_tracks(stage: Stage) -> None:
    up = await stage.up()
    ada = await stage.page(f"{up.http}/standup?autojoin=1&name=Ada&audio=1&video=0")
    identity = await ada.identity()
    bob, cat = [
        await stage.peer(up.ws, "standup", name, audio=False, video=False, single=False)
        for name in ("bob", "cat")
    ]
    await all_hear(identity, bob, cat)

    await ada.page.evaluate(_ALLOW_ONLY, "bob")

    async def cat_hears_nothing() -> bool:
        return await gets_no_sound(cat, identity)

    await until("Cat loses it", cat_hears_nothing, state=cat.story)
    # The rule is for whoever comes later, too.
    dan = await stage.peer(up.ws, "standup", "dan", audio=False, video=False)
    _, silent = await asyncio.gather(bob.hears(identity), cat_hears_nothing())
    assert silent, cat.story()
    assert not dan.happened("track_subscribed"), dan.story()

    await ada.page.evaluate(_ALLOW_ONLY, None)
    await all_hear(identity, bob, cat, dan)
