"""Participants without media: a WebSocket and the signalling protocol, cheap enough for hundreds.
They join, change their own attributes all the time (a state change that the shard must grant), leave
and join again, come back after every break as the SDKs do, and write down what they saw."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable

import websockets
from livekit.protocol import models, rtc
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .history import History, Stay, now
from .signalling import LEAVE, response, v1_target
from .tokens import token

# The JavaScript SDK's pauses between tries, each +-50 %; the last one again and again.
_PAUSES = (0.25, 0.3, 1.2, 2.7, 4.8, 7.0)
# How long a join, and a change of state, may take.
_JOIN_PATIENCE = 8.0
_GRANT_PATIENCE = 6.0
# The shard removes who has no media connection after 60 s.
_LIFE_MAX = 45.0

_numbers = itertools.count(1)


class Light:
    """One participant. `url` is asked for an address at every try."""

    def __init__(
        self,
        room: str,
        identity: str,
        url: Callable[[], str],
        history: History,
        chance: random.Random,
        *,
        pace: float = 1.0,
        life: tuple[float, float] = (15.0, _LIFE_MAX),
        pause: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        self.room = room
        self.identity = identity
        self.tries = 0
        self.joins = 0
        self.grants = 0
        self.breaks = 0
        self._url = url
        self._history = history
        self._chance = chance
        self._pace = pace
        self._life = life
        self._pause = pause
        self._ends = False
        self._connection: Connection | None = None
        self._task: asyncio.Task | None = None

    def start(self) -> "Light":
        """Lives until `stop`."""
        self._task = asyncio.create_task(self._live(), name=self.identity)
        return self

    def present(self) -> bool:
        """Whether it is in the room, as far as it knows."""
        return self._connection is not None and self._connection.open

    async def stop(self) -> None:
        """Leaves for good."""
        self._ends = True
        if self._connection is not None:
            await self._connection.leave()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _live(self) -> None:
        failures = 0
        resume: Stay | None = None
        while not self._ends:
            connection = await self._enter(resume)
            if connection is None:
                resume = None
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))
                continue
            failures = 0
            self._connection = connection
            try:
                resume = await self._stay(connection)
            finally:
                self._connection = None
                await connection.abort()
            if resume is None and connection.stay.polite:
                await asyncio.sleep(self._chance.uniform(*self._pause))

    async def _enter(self, resume: Stay | None) -> "Connection | None":
        self.tries += 1
        try:
            connection = await Connection.join(
                self._url(), self.room, self.identity, self._history, resume
            )
        except InvalidStatus as error:
            self._history.refusals[str(error.response.status_code)] += 1
        except TimeoutError:
            self._history.refusals["timeout"] += 1
        except (InvalidHandshake, EOFError):
            self._history.refusals["broken off"] += 1
        except OSError:
            self._history.refusals["no connection"] += 1
        except ConnectionClosed:
            self._history.refusals["closed"] += 1
        except Refused as error:
            self._history.refusals[str(error)] += 1
        else:
            self.joins += 1
            return connection
        return None

    async def _stay(self, connection: "Connection") -> Stay | None:
        """Changes state until its time is over or the connection is; gives the stay to resume."""
        ends = now() + self._chance.uniform(*self._life)
        while now() < ends:
            if not await connection.change():
                if self._ends:
                    return None
                self.breaks += 1
                return connection.stay if connection.resumable else None
            self.grants += 1
            await connection.closed_within(self._pace * self._chance.uniform(0.5, 1.5))
        await connection.leave()
        return None


class Refused(Exception):
    """The shard answered the join with a Leave."""


class Connection:
    """One signalling connection that was accepted."""

    def __init__(self, socket: websockets.ClientConnection, stay: Stay, history: History) -> None:
        self.stay = stay
        # Until a Leave says otherwise.
        self.resumable = True
        self.open = True
        self._socket = socket
        self._history = history
        self._requests = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._closed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def join(
        cls, url: str, room: str, identity: str, history: History, resume: Stay | None
    ) -> "Connection":
        """Joins, or resumes a stay."""
        join_id = resume.join_id if resume else f"{identity}.{next(_numbers)}"
        access = token(room, identity, metadata=join_id, can_update_own_metadata=True)
        target = v1_target(access, compressed=False, resume=resume.sid if resume else "")
        asked = now()
        async with asyncio.timeout(_JOIN_PATIENCE):
            socket = await websockets.connect(
                f"{url}{target}", compression=None, open_timeout=None, ping_interval=None
            )
            try:
                first = response(await socket.recv())
            except BaseException:
                socket.transport.abort()
                raise
        accepted = now()
        assert socket.response is not None
        stay = Stay(
            join_id=join_id,
            room=room,
            shard=socket.response.headers.get("x-anteroom-shard", "?"),
            sid=resume.sid if resume else "",
            asked=asked,
            accepted=accepted,
            resumed=resume is not None,
        )
        match first.WhichOneof("message"):
            case "join":
                stay.sid = first.join.participant.sid
                stay.resumed = False
                cls._saw(history, room, first.join.other_participants)
            case "reconnect" if resume:
                pass
            case "leave":
                socket.transport.abort()
                reason = models.DisconnectReason.Name(first.leave.reason)
                raise Refused(f"leave {reason}")
            case other:
                socket.transport.abort()
                raise Refused(f"first message {other}")
        history.stays.append(stay)
        return cls(socket, stay, history)

    async def change(self) -> bool:
        """Changes an attribute; whether the shard granted it."""
        number = next(self._requests)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        update = rtc.UpdateParticipantMetadata(
            attributes={"change": str(number)}, request_id=number
        )
        sent = now()
        try:
            async with asyncio.timeout(_GRANT_PATIENCE):
                await self._socket.send(
                    rtc.SignalRequest(update_metadata=update).SerializeToString()
                )
                granted = await waiting
        except (ConnectionClosed, OSError, TimeoutError):
            granted = False
        finally:
            self._waiting.pop(number, None)
        if granted:
            self.stay.granted = max(self.stay.granted, sent)
        return granted

    async def closed_within(self, seconds: float) -> None:
        """Waits so long, or until the connection ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    async def leave(self) -> None:
        """Says good-bye and closes."""
        if self.open:
            self.stay.polite = True
            self.stay.left = now()
            with contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._socket.send(LEAVE)
                    await self._socket.close()

    async def abort(self) -> None:
        """Ends it without a word."""
        self._socket.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                if isinstance(data, bytes):
                    self._take(response(data))
        except (ConnectionClosed, OSError):
            pass
        finally:
            self.open = False
            self.stay.left = min(self.stay.left, now())
            self._closed.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(False)

    def _take(self, message: rtc.SignalResponse) -> None:
        match message.WhichOneof("message"):
            case "request_response":
                answer = message.request_response
                waiting = self._waiting.get(answer.request_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer.reason == rtc.RequestResponse.OK)
            case "update":
                self._saw(self._history, self.stay.room, message.update.participants)
            case "leave":
                self.resumable = message.leave.action == rtc.LeaveRequest.RESUME
                if message.leave.action == rtc.LeaveRequest.DISCONNECT:
                    reason = models.DisconnectReason.Name(message.leave.reason)
                    self._history.refusals[f"told to go: {reason}"] += 1
            case _:
                pass

    @staticmethod
    def _saw(history: History, room: str, participants: object) -> None:
        for one in participants:
            # The join's name travels as the participant's metadata.
            if one.metadata:
                history.saw(room, one.metadata, one.sid)
