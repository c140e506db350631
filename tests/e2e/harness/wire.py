"""A participant without media: one signalling connection, what is asked on it and what is answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import websockets
from google.protobuf.message import Message
from livekit.protocol import rtc

from . import signalling
from .wait import PATIENCE


class Wire:
    """A connection that was let in. `joined` is the server's first message."""

    def __init__(self, socket: websockets.ClientConnection, joined: rtc.JoinResponse) -> None:
        self.joined = joined
        self._socket = socket

    async def ask(self, **request: object) -> None:
        """Sends a request, named as in `SignalRequest`."""
        await self._socket.send(rtc.SignalRequest(**request).SerializeToString())

    async def answer(
        self,
        kind: str,
        holds: Callable[[Message], bool] = lambda _: True,
        *,
        seconds: float = 20,
    ) -> Message:
        """The next message of a kind, named as in `SignalResponse`, for which `holds` holds. Those
        before it are dropped."""
        async with asyncio.timeout(seconds * PATIENCE):
            while True:
                message = signalling.response(await self._socket.recv())
                if message.WhichOneof("message") == kind and holds(getattr(message, kind)):
                    return getattr(message, kind)


@contextlib.asynccontextmanager
async def wired(url: str, access_token: str) -> AsyncIterator[Wire]:
    """Joins with a token; hangs up in the end."""
    target = signalling.v1_target(access_token)
    async with websockets.connect(f"{url}{target}", open_timeout=20 * PATIENCE) as socket:
        first = signalling.response(await asyncio.wait_for(socket.recv(), 20 * PATIENCE))
        assert first.WhichOneof("message") == "join", first
        yield Wire(socket, first.join)
