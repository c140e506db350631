"""Messages that only some clients need: about first listeners, tracks that end or change, and requests
that cannot be met."""

from collections.abc import Callable

from harness.peer import Peer
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until
from harness.wire import Wire, wired
from livekit import rtc as native
from livekit.protocol import models, rtc

# What an enabled noise filter calls: the features of the microphone are sent anew.
_FILTER_NOISE = """() => {
  const [one] = window.anteroom.room.localParticipant.audioTrackPublications.values();
  one.track.handleKrispNoiseFilterEnable();
  return one.trackSid;
}"""
# No client has a method for it.
_RESIZE = """([width, height]) => {
  const me = window.anteroom.room.localParticipant;
  const [{ trackSid }] = me.videoTrackPublications.values();
  const request = { case: "updateVideoTrack", value: { trackSid, width, height } };
  window.anteroom.room.engine.client.sendRequest(request);
  return trackSid;
}"""
UNKNOWN = "TR_unknown"


async def test_a_publisher_learns_once_that_somebody_receives_its_tracks(stage: Stage) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", small=True)
    told: list[str] = []
    ann.room.on("local_track_subscribed", lambda track: told.append(track.sid))
    deaf = token("standup", "deaf", can_subscribe=False)
    await stage.peer(up.ws, "standup", "deaf", access_token=deaf, audio=False, video=False)
    await until("Ann sees the deaf one", lambda: "deaf" in ann.room.remote_participants)
    assert not told, "nobody receives it yet"

    published = set(ann.room.local_participant.track_publications)
    for name in ("bob", "cat"):
        listener = await stage.peer(up.ws, "standup", name, audio=False, video=False)
        await listener.hears("ann")
        await listener.sees("ann")
        await until("both are told", lambda: set(told) == published, state=lambda: told)
    assert sorted(told) == sorted(published), "told again for the second listener"


async def test_an_unpublished_track_is_gone_for_everybody_until_it_is_published_again(
    stage: Stage,
) -> None:
    up = await stage.up()
    ann = await stage.peer(up.ws, "standup", "ann", small=True)
    bob = await stage.peer(up.ws, "standup", "bob", audio=False, video=False)
    await bob.hears("ann")
    me = ann.room.local_participant
    (sound,) = [one.sid for one in me.track_publications.values() if one.name == "microphone"]

    await me.unpublish_track(sound)
    await until("Bob is told", lambda: bob.happened("track_unpublished"), state=bob.story)
    ((_, _, what),) = bob.happened("track_unpublished")
    assert what == f"ann {sound}"
    assert len(bob.happened("track_unsubscribed")) == 1, bob.story()
    await bob.sees("ann")
    cat = await stage.peer(up.ws, "standup", "cat", audio=False, video=False)
    seen = cat.room.remote_participants["ann"].track_publications.values()
    assert [one.name for one in seen] == ["camera"]

    source = native.AudioSource(48_000, 1)
    track = native.LocalAudioTrack.create_audio_track("microphone", source)
    again = await me.publish_track(track)
    assert again.sid != sound
    for one in (bob, cat):

        def has_it(one: Peer = one) -> bool:
            known = one.room.remote_participants["ann"].track_publications
            return again.sid in known and known[again.sid].subscribed

        await until(f"{one.identity} has it again", has_it, state=one.story)


async def is_shown(bob: Wire, sid: str, change: Callable[[models.TrackInfo], bool]) -> None:
    """Waits until a changed track is shown to Bob."""

    def shows(update: rtc.ParticipantUpdate) -> bool:
        tracks = [track for one in update.participants for track in one.tracks]
        return any(track.sid == sid and change(track) for track in tracks)

    await bob.answer("update", shows)


async def test_what_changes_about_a_browsers_tracks_is_shown_to_the_others(stage: Stage) -> None:
    up = await stage.up()
    async with wired(up.ws, token("standup", "bob")) as bob:
        ada = await stage.page(f"{up.http}/standup?autojoin=1&name=Ada&audio=1&video=1")
        count = "() => window.anteroom.room.localParticipant.trackPublications.size === 2"
        await until("Ada sends both", lambda: ada.page.evaluate(count), state=ada.story)

        sound = await ada.page.evaluate(_FILTER_NOISE)
        filtered = models.AudioTrackFeature.TF_ENHANCED_NOISE_CANCELLATION
        await is_shown(bob, sound, lambda track: filtered in track.audio_features)
        picture = await ada.page.evaluate(_RESIZE, [1234, 567])
        await is_shown(bob, picture, lambda track: (track.width, track.height) == (1234, 567))


async def test_a_request_about_a_track_that_cannot_be_met_is_sent_back_with_the_reason(
    stage: Stage,
) -> None:
    up = await stage.up()
    async with wired(up.ws, token("standup", "ann")) as ann:
        for kind, asked, reason in (
            ("mute", rtc.MuteTrackRequest(sid=UNKNOWN, muted=True), "NOT_FOUND"),
            ("update_audio_track", rtc.UpdateLocalAudioTrack(track_sid=UNKNOWN), "NOT_FOUND"),
            ("update_video_track", rtc.UpdateLocalVideoTrack(track_sid=UNKNOWN), "NOT_FOUND"),
            # Another codec for a track that is there: backup codecs are not forwarded.
            ("add_track", rtc.AddTrackRequest(cid="b", sid=UNKNOWN), "UNSUPPORTED_TYPE"),
            ("add_track", rtc.AddTrackRequest(name="without a cid"), "INVALID_REQUEST"),
        ):
            await ann.ask(**{kind: asked})
            answer = await ann.answer("request_response")
            assert rtc.RequestResponse.Reason.Name(answer.reason) == reason, kind
            assert getattr(answer, kind) == asked
            assert answer.message


async def test_a_subscription_to_a_track_that_is_not_there_is_answered(stage: Stage) -> None:
    up = await stage.up()
    async with wired(up.ws, token("standup", "ann")) as ann:
        await ann.ask(subscription=rtc.UpdateSubscription(track_sids=[UNKNOWN], subscribe=True))
        answer = await ann.answer("subscription_response")
        assert answer.track_sid == UNKNOWN
        assert answer.err == models.SubscriptionError.SE_TRACK_NOTFOUND


async def test_a_room_has_one_trailer_for_frames_that_the_server_makes_up(stage: Stage) -> None:
    up = await stage.up()
    async with (
        wired(up.ws, token("standup", "ann")) as ann,
        wired(up.ws, token("standup", "bob")) as bob,
        wired(up.ws, token("other", "cat")) as cat,
    ):
        assert ann.joined.sif_trailer
        assert bob.joined.sif_trailer == ann.joined.sif_trailer
        assert cat.joined.sif_trailer != ann.joined.sif_trailer
