"""A UDP relay that makes a line as bad as it is told: slow, lossy, late, uneven.

It stands between clients and one media node. Clients send to its address; for each client address it
has a socket of its own towards the node, so that the node sees as many clients as there are. Clients
are on lines, as households are: all addresses of a line share its queue and its luck.

For each datagram two numbers are drawn from the line's seed, whatever the line is told to do. So the
n-th datagram of a direction has the same luck in every run; only its time of arrival is its own.
"""

import asyncio
import heapq
import itertools
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .ports import free_port

# Longer than any datagram of WebRTC.
_DATAGRAM_BYTES_MAX = 2048
# Read from one socket before others get their turn.
_BATCH_MAX = 64
# Asked of the kernel, so that a pause of this program loses nothing.
_BUFFER_BYTES = 4 * 1024 * 1024
# Client addresses of one relay. What comes from others is dropped and counted.
_CLIENTS_MAX = 256
# Datagrams that wait for their time, in all lines together. More are dropped and counted.
_WAITING_MAX = 20_000
# What IPv4 and UDP add to a datagram on the line.
_HEADER_BYTES = 28


@dataclass(frozen=True)
class Impairment:
    """What one direction of a line does to datagrams, in this order: rate, loss, delay, jitter."""

    # Bits per second, with the headers of IP and UDP; None: no limit.
    rate: float | None = None
    # Seconds: who would wait longer for a turn is dropped (drop-tail).
    queue: float = 0.2
    # Bytes that pass at once after a rest (the depth of the token bucket).
    burst: int = 3000
    # Share of what has passed the queue, 0 to 1.
    loss: float = 0.0
    # Seconds that everything is late.
    delay: float = 0.0
    # Seconds: at most so much more, uniformly.
    jitter: float = 0.0
    # Whether datagrams wait for those before them, as on most networks.
    ordered: bool = True


# A line without faults.
CLEAN = Impairment()


@dataclass
class Counters:
    """What became of the datagrams of one direction since its start. Bytes are payload."""

    packets: int = 0
    bytes: int = 0
    passed: int = 0
    passed_bytes: int = 0
    # Dropped: by the full queue of the line, by chance, and by the relay itself (kernel, `_WAITING_MAX`).
    overflowed: int = 0
    lost: int = 0
    refused: int = 0
    # Seconds in the queue: of all that got through it together, and the longest.
    waited: float = 0.0
    longest_wait: float = 0.0


class Direction:
    """One direction of a line. Knows no socket and no clock."""

    def __init__(self, seed: str) -> None:
        self.impairment = CLEAN
        self.counters = Counters()
        self._random = random.Random(seed)
        # When the line has sent what was let into its queue; the past: it has tokens left.
        self._free_at = 0.0
        self._last_due = 0.0

    def admit(self, now: float, size: int) -> float | None:
        """When a datagram of `size` bytes that came `now` is to be passed on; None: never.

        A change of `impairment` is for datagrams that come after it.
        """
        is_lost = self._random.random() < self.impairment.loss
        late = self.impairment.jitter * self._random.random()
        self.counters.packets += 1
        self.counters.bytes += size
        wait = self._queue(now, size + _HEADER_BYTES)
        if wait is None:
            self.counters.overflowed += 1
            return None
        self.counters.waited += wait
        self.counters.longest_wait = max(self.counters.longest_wait, wait)
        if is_lost:
            self.counters.lost += 1
            return None
        due = now + wait + self.impairment.delay + late
        if self.impairment.ordered:
            due = max(due, self._last_due)
        self._last_due = max(due, self._last_due)
        return due

    def _queue(self, now: float, size: int) -> float | None:
        rate = self.impairment.rate
        if rate is None:
            self._free_at = now
            return 0.0
        start = max(self._free_at, now - self.impairment.burst * 8 / rate)
        if start - now > self.impairment.queue:
            return None
        self._free_at = start + size * 8 / rate
        return max(0.0, self._free_at - now)


class Line:
    """Up is from the clients to the node, down is back."""

    def __init__(self, seed: str) -> None:
        self.up = Direction(f"{seed}/up")
        self.down = Direction(f"{seed}/down")


@dataclass
class _Client:
    line: Line
    address: tuple[str, int]
    # Towards the node.
    socket: socket.socket


# Due, a number that keeps equals in order, and what to do then.
_Waiting = tuple[float, int, Direction, Callable[[bytes], int], bytes]


class UdpRelay:
    """The relay in front of `target`. It runs in the loop that entered it."""

    def __init__(self, target: str, *, seed: int, host: str = "127.0.0.1") -> None:
        self._target = _split(target)
        self._seed = seed
        self._host = host
        self.address = f"{host}:{free_port()}"
        self.lines: dict[str, Line] = {}
        # Datagrams of addresses beyond `_CLIENTS_MAX`.
        self.strange = 0
        self._newcomers = self.line("")
        self._clients: dict[tuple[str, int], _Client] = {}
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._front = _socket(_split(self.address))
        self._loop.add_reader(self._front, self._hear_clients)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for one in (self._front, *(client.socket for client in self._clients.values())):
            self._loop.remove_reader(one)
            one.close()

    def line(self, name: str) -> Line:
        """The line of this name. At first there is one, with the empty name."""
        return self.lines.setdefault(name, Line(f"{self._seed}/{name}"))

    def admit(self, name: str) -> Line:
        """Client addresses that show up from now on are on the line of this name."""
        self._newcomers = self.line(name)
        return self._newcomers

    def _hear_clients(self) -> None:
        for _ in range(_BATCH_MAX):
            try:
                contents, address = self._front.recvfrom(_DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            client = self._clients.get(address) or self._welcome(address)
            if client is None:
                self.strange += 1
            else:
                self._pass(client.line.up, client.socket.send, contents)

    def _welcome(self, address: tuple[str, int]) -> _Client | None:
        if len(self._clients) >= _CLIENTS_MAX:
            return None
        client = _Client(self._newcomers, address, _socket((self._host, 0)))
        client.socket.connect(self._target)
        self._clients[address] = client
        self._loop.add_reader(client.socket, self._hear_node, client)
        return client

    def _hear_node(self, client: _Client) -> None:
        def send(contents: bytes) -> int:
            return self._front.sendto(contents, client.address)

        for _ in range(_BATCH_MAX):
            try:
                contents = client.socket.recv(_DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                # About one that we sent: the node was not there.
                continue
            self._pass(client.line.down, send, contents)

    def _pass(self, direction: Direction, send: Callable[[bytes], int], contents: bytes) -> None:
        now = self._loop.time()
        due = direction.admit(now, len(contents))
        if due is None:
            return
        # Otherwise one that needs no time would overtake one whose time has come.
        self._send_due(now)
        if due <= now:
            _send(direction, send, contents)
        elif len(self._waiting) >= _WAITING_MAX:
            direction.counters.refused += 1
        else:
            one = (due, next(self._numbers), direction, send, contents)
            heapq.heappush(self._waiting, one)
            self._set_timer()

    def _send_due(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, direction, send, contents = heapq.heappop(self._waiting)
            _send(direction, send, contents)

    def _set_timer(self) -> None:
        due = self._waiting[0][0]
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._send_due(self._loop.time())
        if self._waiting:
            self._set_timer()


def _send(direction: Direction, send: Callable[[bytes], int], contents: bytes) -> None:
    try:
        send(contents)
    except OSError:
        direction.counters.refused += 1
    else:
        direction.counters.passed += 1
        direction.counters.passed_bytes += len(contents)


def _socket(address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    opened.setblocking(False)
    opened.bind(address)
    return opened


def _split(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)
