"""A participant over the official native client: publishes a tone and a small moving picture,
counts what arrives, and writes down what happens to it."""

import asyncio
import collections
import json
import time
from dataclasses import dataclass, field

import numpy
from livekit import rtc

from .tokens import token
from .wait import until

WIDTH, HEIGHT, FPS = 320, 180, 8
# For crowds: the encoders and decoders of all peers share the machine with the programs.
SMALL = (160, 90, 4)
_RATE, _FRAME_MS = 48_000, 50
# A tone of amplitude 8000 has an RMS of 5657; Opus leaves most of it, silence is below 50.
LOUD = 1000.0
# Topic of the web client's chat packets.
CHAT = "chat"


@dataclass
class Incoming:
    """What has arrived from one participant."""

    video: int = 0
    size: tuple[int, int] | None = None
    audio: int = 0
    loud: int = 0


@dataclass
class Gap:
    """The longest silence between two arrivals since `mark`."""

    last: float = field(default_factory=time.monotonic)
    longest: float = 0.0
    # When the arrival came that ended it.
    ended: float = 0.0

    def arrived(self) -> None:
        now = time.monotonic()
        if now - self.last > self.longest:
            self.longest, self.ended = now - self.last, now
        self.last = now


class Peer:
    """One native participant."""

    def __init__(self, room: str, identity: str) -> None:
        self.room_name = room
        self.identity = identity
        self.incoming: dict[str, Incoming] = collections.defaultdict(Incoming)
        self.data: list[tuple[str, str, bytes]] = []
        self.events: list[tuple[float, str, str]] = []
        self.gaps: dict[str, Gap] = {}
        self.sent = 0
        self.microphone: rtc.LocalAudioTrack | None = None
        self._room = rtc.Room()
        self._tasks: set[asyncio.Task] = set()
        self._started = time.monotonic()
        self._talks = asyncio.Event()
        self._hushed = True
        self._listen()

    async def join(
        self,
        url: str,
        *,
        access_token: str | None = None,
        audio: bool = True,
        video: bool = True,
        simulcast: bool = False,
        small: bool = False,
        single: bool | None = None,
        subscribe: bool = True,
        fps: int | None = None,
        seconds: float = 20,
    ) -> "Peer":
        """Connects and publishes. `single`: one peer connection (`/rtc/v1`) or two (`/rtc`)."""
        options = rtc.RoomOptions(
            auto_subscribe=subscribe, single_peer_connection=single, connect_timeout=seconds
        )
        await asyncio.wait_for(
            self._room.connect(url, access_token or token(self.room_name, self.identity), options),
            2 * seconds,
        )
        if audio:
            await self._publish_tone()
        if video:
            width, height, usual = SMALL if small else (WIDTH, HEIGHT, FPS)
            await self._publish_picture(simulcast, width, height, fps or usual)
        return self

    @property
    def sid(self) -> str:
        return self._room.local_participant.sid

    @property
    def room(self) -> rtc.Room:
        return self._room

    def publications(self) -> int:
        """How many tracks its client believes to publish."""
        return len(self._room.local_participant.track_publications)

    def connected(self) -> bool:
        """Whether the signalling connection stands."""
        return self._room.connection_state == rtc.ConnectionState.CONN_CONNECTED

    def happened(self, *names: str) -> list[tuple[float, str, str]]:
        """The events of these names."""
        return [event for event in self.events if event[1] in names]

    async def say(self, text: str, *, reliable: bool = True, topic: str = "test") -> None:
        """Sends a data packet to everybody."""
        await self._room.local_participant.publish_data(
            text.encode(), reliable=reliable, topic=topic
        )

    def talk(self, *, pause: float = 0.05) -> None:
        """Sends numbered reliable packets until `hush`."""
        self.sent = 0
        self._talks = asyncio.Event()
        self._run(self._talk(pause))

    async def hush(self) -> int:
        """Stops; gives how many it has sent."""
        self._talks.set()
        await until(f"{self.identity} is silent", lambda: self._hushed, state=self.story)
        return self.sent

    async def _talk(self, pause: float) -> None:
        self._hushed = False
        try:
            while not self._talks.is_set():
                await self.say(str(self.sent))
                self.sent += 1
                await asyncio.sleep(pause)
        except Exception as error:
            self._note("talk failed", error)
            raise
        finally:
            self._hushed = True

    def numbers_of(self, sender: str) -> list[int]:
        """The numbered packets that came from somebody, in the order of their arrival."""
        return [int(data) for who, topic, data in self.data if (who, topic) == (sender, "test")]

    async def chat(self, text: str) -> None:
        """Sends a chat message, as the web client does."""
        packet = {"type": "chat", "text": text, "name": self.identity, "ts": time.time() * 1000}
        await self.say(json.dumps(packet), topic=CHAT)

    def chats(self) -> list[tuple[str, str]]:
        """Chat messages that came: sender and text."""
        return [
            (sender, json.loads(data)["text"]) for sender, topic, data in self.data if topic == CHAT
        ]

    def mark(self) -> None:
        """Starts to measure gaps anew, in what has come so far too."""
        self.gaps = {what: Gap() for what in self.gaps}

    def longest_gap(self) -> float:
        """The longest time without any media since `mark`, seconds."""
        return max((gap.longest for gap in self.gaps.values()), default=float("inf"))

    async def hears(self, *identities: str, seconds: float = 30) -> None:
        """Waits until sound (not just frames) comes from all of them, from now on."""
        before = {who: self.incoming[who].loud for who in identities}
        await until(
            f"{self.identity} hears {identities}",
            lambda: all(self.incoming[who].loud >= before[who] + 5 for who in identities),
            seconds=seconds,
            state=self.story,
        )

    async def sees(self, *identities: str, seconds: float = 30) -> None:
        """Waits until pictures come from all of them, from now on."""
        before = {who: self.incoming[who].video for who in identities}
        await until(
            f"{self.identity} sees {identities}",
            lambda: all(self.incoming[who].video >= before[who] + 5 for who in identities),
            seconds=seconds,
            state=self.story,
        )

    def story(self) -> str:
        """What happened to it and what it has received, for people."""
        lines = [
            f"{moment - self._started:7.2f} s  {name} {detail}"
            for moment, name, detail in self.events
        ]
        return "\n".join([*lines, f"incoming: {dict(self.incoming)}"])

    async def close(self) -> None:
        """Leaves the room."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(self._room.disconnect(), 10)
        except TimeoutError:
            self._note("close", "no answer to disconnect within 10 s")

    def _note(self, name: str, detail: object = "") -> None:
        self.events.append((time.monotonic(), name, str(detail)))

    def _run(self, coroutine: collections.abc.Coroutine) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _listen(self) -> None:
        for name in ("reconnecting", "reconnected"):
            self._room.on(name, lambda name=name: self._note(name))
        self._room.on(
            "disconnected",
            lambda reason=0: self._note("disconnected", rtc.DisconnectReason.Name(reason)),
        )
        for name in ("participant_connected", "participant_disconnected"):
            self._room.on(name, lambda who, name=name: self._note(name, who.identity))
        for name in ("track_muted", "track_unmuted"):
            self._room.on(
                name, lambda who, track, name=name: self._note(name, f"{who.identity} {track.kind}")
            )
        for name in ("track_published", "track_unpublished"):
            self._room.on(
                name, lambda track, who, name=name: self._note(name, f"{who.identity} {track.sid}")
            )
        self._room.on(
            "track_unsubscribed",
            lambda track, publication, who: self._note(
                "track_unsubscribed", f"{who.identity} {track.kind}"
            ),
        )
        self._room.on("local_track_republished", lambda *_: self._note("local_track_republished"))
        self._room.on("track_subscribed", self._on_track)
        self._room.on("data_received", self._on_data)

    def _on_data(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else ""
        self.data.append((sender, packet.topic or "", bytes(packet.data)))

    def _on_track(self, track: rtc.Track, publication: object, who: rtc.RemoteParticipant) -> None:
        self._note("track_subscribed", f"{who.identity} {track.kind}")
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            self._run(self._watch(track, who.identity))
        else:
            self._run(self._hear(track, who.identity))

    async def _watch(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.VideoStream(track, capacity=4)
        try:
            async for event in stream:
                seen = self.incoming[identity]
                seen.video += 1
                seen.size = (event.frame.width, event.frame.height)
                self._arrived(f"video {identity}")
        finally:
            await stream.aclose()

    async def _hear(self, track: rtc.Track, identity: str) -> None:
        stream = rtc.AudioStream(track, capacity=16, frame_size_ms=_FRAME_MS)
        try:
            async for event in stream:
                samples = numpy.frombuffer(event.frame.data, dtype=numpy.int16)
                loudness = float(numpy.sqrt(numpy.mean(samples.astype(numpy.float32) ** 2)))
                seen = self.incoming[identity]
                seen.audio += 1
                # The receiver fills a gap in the stream with silence: only sound is an arrival.
                if loudness > LOUD:
                    seen.loud += 1
                    self._arrived(f"audio {identity}")
        finally:
            await stream.aclose()

    def _arrived(self, what: str) -> None:
        self.gaps.setdefault(what, Gap()).arrived()

    async def _publish_tone(self) -> None:
        source = rtc.AudioSource(_RATE, 1, queue_size_ms=4 * _FRAME_MS)
        self.microphone = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        await self._room.local_participant.publish_track(self.microphone, options)
        self._run(self._pump_tone(source))

    async def _publish_picture(self, simulcast: bool, width: int, height: int, fps: int) -> None:
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("camera", source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=rtc.VideoCodec.VP8,
            simulcast=simulcast,
        )
        await self._room.local_participant.publish_track(track, options)
        self._run(self._pump_picture(source, width, height, fps))

    async def _pump_tone(self, source: rtc.AudioSource) -> None:
        count = _RATE * _FRAME_MS // 1000
        # 440 Hz: 22 whole waves in 50 ms, so every frame is the same and none clicks.
        wave = 8000 * numpy.sin(2 * numpy.pi * 440 * numpy.arange(count) / _RATE)
        data = wave.astype(numpy.int16).tobytes()
        while True:
            # Returns when the source's queue has room: the source sets the pace.
            await source.capture_frame(rtc.AudioFrame(data, _RATE, 1, count))

    async def _pump_picture(
        self, source: rtc.VideoSource, width: int, height: int, fps: int
    ) -> None:
        # Two planes of half width and height, rounded up.
        chroma = numpy.full(2 * ((width + 1) // 2) * ((height + 1) // 2), 128, dtype=numpy.uint8)
        ramp = numpy.tile(numpy.arange(width) % 256, height).astype(numpy.uint8)
        shift = 0
        while True:
            luma = ramp + numpy.uint8(shift)
            data = numpy.concatenate([luma, chroma]).tobytes()
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, data))
            shift = (shift + 8) % 256
            await asyncio.sleep(1 / fps)


async def pair(
    stage: object, url: str, room: str, *, prefix: str = "", **options: object
) -> tuple[Peer, Peer]:
    """Two peers that hear and see each other: the bystanders of a test."""
    first = await stage.peer(url, room, f"{prefix}ann", **options)
    second = await stage.peer(url, room, f"{prefix}bob", **options)
    for one, other in ((first, second), (second, first)):
        await one.hears(other.identity)
        if options.get("video", True):
            await one.sees(other.identity)
    return first, second


def assert_untouched(*peers: Peer, but: str = "") -> None:
    """Nobody of them had to reconnect or saw somebody go, except the participant `but`."""
    for peer in peers:
        events = peer.happened(
            "reconnecting", "disconnected", "participant_disconnected", "local_track_republished"
        )
        trouble = [event for event in events if not but or event[2] != but]
        assert not trouble, f"{peer.identity}: {peer.story()}"
