"""What a token does not allow, its holder cannot do; and the rest it can."""

import pytest
from harness.browser import Page
from harness.stage import Stage, Up
from harness.tokens import token
from harness.wait import until
from harness.wire import wired
from livekit.protocol import models, rtc

# Tries a call of the local participant and tells how it ended.
_TRY = """async ([method, argument]) => {
  try {
    await window.anteroom.room.localParticipant[method](argument);
    return "";
  } catch (error) {
    return `${error.reasonName ?? error.status}: ${error.message}`;
  }
}"""


async def page_with(stage: Stage, up: Up, room: str, identity: str, **grants: object) -> Page:
    """A page with a token of these grants, that sends nothing yet."""
    access = token(room, identity, **grants)
    return await stage.page(f"{up.http}/{room}?autojoin=1&audio=0&video=0#token={access}")


def camera() -> rtc.AddTrackRequest:
    return rtc.AddTrackRequest(
        cid="camera", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA
    )


def microphone() -> rtc.AddTrackRequest:
    return rtc.AddTrackRequest(
        cid="microphone", type=models.TrackType.AUDIO, source=models.TrackSource.MICROPHONE
    )


@pytest.mark.parametrize(
    ("grants", "refused", "taken"),
    [
        ({"can_publish": False}, [microphone(), camera()], []),
        ({"can_publish_sources": ["microphone"]}, [camera()], [microphone()]),
    ],
)
async def test_a_track_is_refused_with_the_reason(
    stage: Stage,
    grants: dict,
    refused: list[rtc.AddTrackRequest],
    taken: list[rtc.AddTrackRequest],
) -> None:
    up = await stage.up()
    async with wired(up.ws, token("standup", "bob", **grants)) as bob:
        for request in refused:
            await bob.ask(add_track=request)
            answer = await bob.answer("request_response")
            assert answer.reason == rtc.RequestResponse.NOT_ALLOWED
            assert answer.add_track.cid == request.cid
            assert "access token" in answer.message
        for request in taken:
            await bob.ask(add_track=request)
            assert (await bob.answer("track_published")).cid == request.cid


async def test_a_browser_that_may_send_sound_only_sends_no_picture(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", audio=False, video=False)
    bob = await page_with(stage, up, "standup", "bob", can_publish_sources=["microphone"])
    refusal = await bob.page.evaluate(_TRY, ["setCameraEnabled", True])
    assert refusal == "403: failed to publish track, insufficient permissions"
    assert await bob.page.evaluate(_TRY, ["setMicrophoneEnabled", True]) == ""
    await ann.hears("bob")
    sources = ann.room.remote_participants["bob"].track_publications.values()
    assert [one.source for one in sources] == [models.TrackSource.MICROPHONE]


async def test_who_may_not_subscribe_receives_nothing_and_is_heard(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", small=True)
    access = token("standup", "deaf", can_subscribe=False)
    # With two peer connections the one on which it would receive is never made.
    deaf = await stage.peer(
        up.ws, "standup", "deaf", access_token=access, video=False, single=False
    )
    await ann.hears("deaf")
    # It knows what there is. Asking for it does not help.
    known = deaf.room.remote_participants["ann"].track_publications.values()
    assert len(known) == 2
    for publication in known:
        publication.set_subscribed(True)
    # Whoever comes later and may is served meanwhile.
    bob = await stage.peer(up.ws, "standup", "bob", audio=False, video=False)
    await bob.hears("ann")
    await bob.sees("ann")
    assert not deaf.happened("track_subscribed"), deaf.story()


async def test_who_may_not_publish_data_is_not_read_and_reads_the_others(stage: Stage) -> None:
    up = await stage.up()
    access = token("standup", "mute", can_publish_data=False)
    ann, bob = [
        await stage.peer(up.ws, "standup", name, audio=False, video=False)
        for name in ("ann", "bob")
    ]
    mute = await stage.peer(up.ws, "standup", "mute", access_token=access, audio=False, video=False)

    async def reads_bob() -> bool:
        await mute.say("no")
        await bob.say("yes")
        return all(one.data.count(("bob", "test", b"yes")) >= 5 for one in (ann, mute))

    await until("both read Bob", reads_bob)
    assert {sender for sender, _, _ in ann.data} == {"bob"}


async def test_a_participant_with_the_grant_changes_how_it_is_shown(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", audio=False, video=False)
    access = token("standup", "bob", can_update_own_metadata=True)
    bob = await stage.peer(up.ws, "standup", "bob", access_token=access, audio=False, video=False)
    me = bob.room.local_participant
    await me.set_name("Robert")
    await me.set_metadata("likes tea")
    await me.set_attributes({"hand": "up", "mood": "good"})

    def shown() -> tuple[str, str, dict[str, str]]:
        seen = ann.room.remote_participants["bob"]
        return seen.name, seen.metadata, dict(seen.attributes)

    async def is_shown(*expected: object) -> None:
        await until(f"Ann is shown {expected}", lambda: shown() == expected, state=shown)

    await is_shown("Robert", "likes tea", {"hand": "up", "mood": "good"})
    # An empty value takes an attribute away.
    await me.set_attributes({"hand": ""})
    await is_shown("Robert", "likes tea", {"mood": "good"})


async def test_without_the_grant_a_browser_is_told_that_it_may_not(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", audio=False, video=False)
    bob = await page_with(stage, up, "standup", "bob")
    for method, value in (
        ("setName", "Robert"),
        ("setMetadata", "likes tea"),
        ("setAttributes", {"hand": "up"}),
    ):
        refusal = await bob.page.evaluate(_TRY, [method, value])
        assert refusal.startswith("NOT_ALLOWED: "), f"{method}: {refusal}"
        assert "canUpdateOwnMetadata" in refusal
    # Whoever joins now is told what the server holds.
    cat = await stage.peer(up.ws, "standup", "cat", audio=False, video=False)
    for one in (ann, cat):
        seen = one.room.remote_participants["bob"]
        assert (seen.name, seen.metadata, dict(seen.attributes)) == ("bob", "", {})


async def test_nobody_sees_or_hears_a_hidden_participant(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", video=False)
    access = token("standup", "spy", hidden=True)
    spy = await stage.peer(up.ws, "standup", "spy", access_token=access, video=False)
    await spy.hears("ann")
    cat = await stage.peer(up.ws, "standup", "cat", video=False)
    await cat.hears("ann")
    await ann.hears("cat")
    await spy.say("boo")
    # What it writes comes from nobody.
    for one, other in ((ann, "cat"), (cat, "ann")):
        await until("it is read", lambda one=one: ("", "test", b"boo") in one.data)
        assert set(one.room.remote_participants) == {other}
        assert set(one.incoming) == {other}
