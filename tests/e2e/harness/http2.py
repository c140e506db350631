"""HTTP/2 by hand, over plain TCP with prior knowledge (RFC 9113 section 3.3), and WebSockets on a
stream of it (RFC 8441)."""

import asyncio
import struct
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.settings

from .wait import PATIENCE


@dataclass
class Stream:
    """One request and what has come back."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", "0"))

    @property
    def shard(self) -> str | None:
        return self.headers.get("x-anteroom-shard")


class Http2:
    """A client connection that carries many requests."""

    def __init__(self, address: str) -> None:
        self._authority = address
        self._host, port = address.rsplit(":", 1)
        self._port = int(port)
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._streams: dict[int, Stream] = {}
        self._settings = asyncio.Event()
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> "Http2":
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._h2.initiate_connection()
        self._flush()
        self._task = asyncio.create_task(self._read())
        async with asyncio.timeout(10 * PATIENCE):
            await self._settings.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()

    def offers_websockets(self) -> bool:
        """Whether the server announced SETTINGS_ENABLE_CONNECT_PROTOCOL."""
        return self._h2.remote_settings.enable_connect_protocol == 1

    async def get(self, target: str, headers: list[tuple[str, str]] | None = None) -> Stream:
        """A request without a body, to its end."""
        stream = self._open(
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", self._authority),
                (":path", target),
                *(headers or []),
            ],
            end=True,
        )
        await self._wait(stream, lambda: stream.ended or stream.reset is not None)
        return stream

    async def websocket(self, target: str, *, messages: int = 1) -> tuple[Stream, list[bytes]]:
        """Extended CONNECT (RFC 8441 section 5); reads the first messages, then closes."""
        stream = self._open(
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", self._authority),
                (":path", target),
                ("sec-websocket-version", "13"),
            ],
            end=False,
        )
        number = self._number(stream)
        done = lambda: stream.ended or stream.reset is not None  # noqa: E731
        await self._wait(stream, lambda: stream.status or done())
        received: list[bytes] = []
        if stream.status == 200:
            await self._wait(stream, lambda: len(_messages(stream.body)) >= messages or done())
            received = _messages(stream.body)
            if stream.reset is None:
                # A masked close frame, code 1000.
                self._h2.send_data(number, b"\x88\x82\0\0\0\0" + struct.pack("!H", 1000), True)
                self._flush()
        return stream, received

    def _open(self, headers: list[tuple[str, str]], *, end: bool) -> Stream:
        number = self._h2.get_next_available_stream_id()
        stream = self._streams[number] = Stream()
        self._h2.send_headers(number, headers, end_stream=end)
        self._flush()
        return stream

    def _number(self, stream: Stream) -> int:
        return next(number for number, other in self._streams.items() if other is stream)

    async def _wait(self, stream: Stream, condition: object) -> None:
        async with asyncio.timeout(15 * PATIENCE):
            while not condition():
                stream.changed.clear()
                await stream.changed.wait()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                self._flush()
        finally:
            for stream in self._streams.values():
                stream.ended = True
                stream.changed.set()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self._settings.set()
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code
        stream.changed.set()


def _messages(data: bytearray) -> list[bytes]:
    """Whole unmasked frames without fragmentation (RFC 6455 section 5.2), data frames only."""
    found, at = [], 0
    while len(data) >= at + 2:
        opcode, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        elif size == 127:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        if len(data) < start + size:
            break
        if opcode in (1, 2):
            found.append(bytes(data[start : start + size]))
        at = start + size
    return found
