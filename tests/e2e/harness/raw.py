"""Requests byte by byte: for what a well-behaved client would never send."""

import asyncio
from dataclasses import dataclass

from .wait import PATIENCE


@dataclass
class Answer:
    """What came back. `status` is 0 when the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: str
    closed: bool

    @property
    def shard(self) -> str | None:
        return self.headers.get("x-anteroom-shard")


def request(
    target: str, headers: list[tuple[str, str]] | None = None, *, method: str = "GET"
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def upgrade(target: str, headers: list[tuple[str, str]] | None = None) -> bytes:
    """The bytes of a WebSocket handshake."""
    return request(
        target,
        [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            *(headers or []),
        ],
    )


async def exchange(
    address: str, data: bytes, *, seconds: float = 10, method: str = "GET"
) -> Answer:
    """Sends `data` on a new connection and reads one answer."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(seconds * PATIENCE):
            sending = asyncio.ensure_future(_send(writer, data))
            try:
                return await _read_answer(reader, method)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    except (ConnectionError, asyncio.IncompleteReadError):
        return Answer(0, {}, "", True)
    finally:
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers = {}
    for line in filter(None, head[1:]):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = b""
    if status == 101 or method == "HEAD":
        pass
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.read()
    closed = headers.get("connection", "").lower() == "close"
    return Answer(status, headers, body.decode("utf-8", "replace"), closed)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
