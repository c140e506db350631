"""Clients of WHIP and WHEP: FFmpeg's muxer, and aiortc as publisher and player."""

import asyncio
import contextlib
import fractions
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import av
import httpx
import imageio_ffmpeg
import numpy
from aiortc import AudioStreamTrack, MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from .peer import LOUD
from .wait import PATIENCE, until

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
_RATE = 48_000


class Encoder:
    """FFmpeg with its WHIP muxer: a test card in H264 and a tone in Opus."""

    def __init__(self, url: str, bearer: str, log: Path) -> None:
        self._log = log
        self._arguments = [
            *["-hide_banner", "-nostdin", "-re"],
            *["-f", "lavfi", "-i", "testsrc=size=320x180:rate=10"],
            *["-re", "-f", "lavfi", "-i", "sine=frequency=440"],
            *["-af", "volume=2", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"],
            *["-profile:v", "baseline", "-tune", "zerolatency", "-bf", "0", "-g", "10"],
            *["-c:a", "libopus", "-ar", str(_RATE), "-ac", "2"],
            *["-f", "whip", "-authorization", bearer, url],
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Encoder":
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                imageio_ffmpeg.get_ffmpeg_exe(), *self._arguments, stdout=log, stderr=log
            )
        return self

    async def stop(self) -> None:
        """As a user stops it: it ends its session by DELETE."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait_for(self._process.wait(), 10 * PATIENCE)
            self._process = None

    def kill(self) -> None:
        """It says nothing any more."""
        assert self._process is not None
        self._process.kill()

    def story(self) -> str:
        """Its last words."""
        return self._log.read_text(errors="replace")[-2000:]


@contextlib.asynccontextmanager
async def encoder(url: str, bearer: str, folder: Path) -> AsyncIterator[Encoder]:
    """A running encoder; ended with the context."""
    running = Encoder(url, bearer, folder / "ffmpeg.log")
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


class Tone(AudioStreamTrack):
    """440 Hz; every frame of 20 ms is the same length of the same wave."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = itertools.count()

    async def recv(self) -> av.AudioFrame:
        silent = await super().recv()
        count = silent.samples
        at = (next(self._frames) * count + numpy.arange(count)) / silent.sample_rate
        wave = (8000 * numpy.sin(2 * numpy.pi * 440 * at)).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            silent.sample_rate,
            silent.pts,
            silent.time_base,
        )
        return frame


class Picture(MediaStreamTrack):
    """Small pictures that move."""

    kind = "video"
    FPS = 10

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(1 / self.FPS)
        self._count += 1
        ramp = numpy.tile(numpy.arange(320, dtype=numpy.uint8), (270, 1)) + numpy.uint8(
            self._count % 200
        )
        frame = av.VideoFrame.from_ndarray(ramp, format="yuv420p")
        frame.pts, frame.time_base = self._count * 90_000 // self.FPS, fractions.Fraction(1, 90_000)
        return frame


class Session:
    """One WHIP or WHEP session of aiortc."""

    def __init__(self, base: str, bearer: str) -> None:
        self.http = httpx.AsyncClient(
            base_url=base, headers={"authorization": f"Bearer {bearer}"}, timeout=20
        )
        self.connection = RTCPeerConnection()
        self.location = ""
        self.tag = ""
        self.pictures = 0
        self.loud = 0
        self._tasks: list[asyncio.Task] = []
        self.connection.on("track", self._on_track)

    async def publish(self, path: str) -> "Session":
        """Sends a tone and pictures."""
        self.connection.addTrack(Tone())
        self.connection.addTrack(Picture())
        return await self._offer(path)

    async def watch(self, path: str) -> "Session":
        """Receives one audio and one video track."""
        for kind in ("audio", "video"):
            self.connection.addTransceiver(kind, direction="recvonly")
        return await self._offer(path)

    async def _offer(self, path: str) -> "Session":
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp = self.connection.localDescription.sdp
        answer = await self.http.post(path, content=sdp, headers={"content-type": SDP})
        assert answer.status_code == 201, (answer.status_code, answer.text)
        assert answer.headers["content-type"] == SDP
        self.location, self.tag = answer.headers["location"], answer.headers["etag"]
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        return self

    async def receives(self, *, seconds: float = 20) -> None:
        """Waits until pictures and sound come, from now on."""
        pictures, loud = self.pictures, self.loud
        await until(
            "a player receives",
            lambda: self.pictures >= pictures + 5 and self.loud >= loud + 5,
            seconds=seconds,
            state=lambda: (self.pictures, self.loud, self.connection.connectionState),
        )

    async def end(self) -> httpx.Response:
        """DELETE."""
        return await self.http.delete(self.location)

    async def close(self) -> None:
        """Without a word over HTTP."""
        for task in self._tasks:
            task.cancel()
        await self.connection.close()
        await self.http.aclose()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._receive(track)))

    async def _receive(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.pictures += 1
                    continue
                samples = frame.to_ndarray().astype(numpy.float32)
                self.loud += float(numpy.sqrt(numpy.mean(samples**2))) > LOUD


@contextlib.asynccontextmanager
async def session(base: str, bearer: str) -> AsyncIterator[Session]:
    """A session that has not begun yet; its connection is closed with the context."""
    one = Session(base, bearer)
    try:
        yield one
    finally:
        await one.close()
