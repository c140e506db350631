"""Real Redis servers for one test: alone, with a password, or a master with a replica and three
Sentinels. They keep nothing on disk, listen on loopback, and die with the test run."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from .faketime import Clock
from .guard import guarded
from .ports import free_port
from .wait import until

_SERVER = shutil.which("redis-server")
# What a fail-over takes here: Sentinels notice after this long, then they vote.
_DOWN_AFTER_MS = 1_000


class RedisError(Exception):
    """An error that the server answered."""


class Redis:
    """One `redis-server` process; the same port again after a restart."""

    def __init__(
        self,
        folder: Path,
        name: str = "redis",
        *,
        settings: tuple[str, ...] = (),
        password: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        assert _SERVER, "redis-server is not installed: run `make setup`"
        self.name = name
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self._folder = folder / f"{name}-data"
        self._folder.mkdir(exist_ok=True)
        self._settings = settings
        self._password = password
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a configuration names."""
        return self.url_at(self.address)

    def url_at(self, address: str) -> str:
        """The same server at another address: behind a relay."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}{address}"

    async def __aenter__(self) -> "Redis":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    async def start(self) -> None:
        """Starts the server and waits until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._settings]
        if self._password:
            arguments += ["--requirepass", self._password]
        await self._run([*arguments, "--dir", str(self._folder)])

    async def _run(self, arguments: list[str]) -> None:
        self._process = self._spawn(arguments)
        await until(f"{self.name} answers", self.answers, every=0.02, state=self.tail)

    def _spawn(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        environment = self._clock.environment() if self._clock else None
        with self.log.open("ab") as log:
            return subprocess.Popen(
                guarded(str(_SERVER), *arguments),
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Not a session of its own, see `guard`.
                process_group=0,
            )

    async def answers(self) -> bool:
        """Whether it answers a PING."""
        assert self.alive(), f"{self.name} has ended:\n{self.tail()}"
        try:
            return await self.command("PING") == "PONG"
        except (OSError, RedisError, asyncio.IncompleteReadError, TimeoutError):
            return False

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`; all data is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: str, seconds: float = 5) -> object:
        """One command on a connection of its own."""
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                if self._password:
                    writer.write(_encode(("AUTH", self._password)))
                    await _decode(reader)
                writer.write(_encode(words))
                return await _decode(reader)
            finally:
                writer.transport.abort()

    async def info(self, field: str) -> str:
        """A line of INFO; empty if there is none."""
        text = str(await self.command("INFO", "everything"))
        lines = (line for line in text.splitlines() if line.startswith(f"{field}:"))
        return next(lines, "").partition(":")[2].strip()

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Sentinel(Redis):
    """One Sentinel: a `redis-server` in another mode."""

    async def watch(self, master: "Redis", name: str, quorum: int) -> None:
        """Starts it on a master."""
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"sentinel monitor {name} 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {name} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {name} 4000\n"
            f"sentinel parallel-syncs {name} 1\n"
        )
        await self._run([str(config), "--sentinel"])


class Sentinels:
    """A master, a replica and three Sentinels that promote it."""

    MASTER = "mymaster"

    def __init__(self, folder: Path) -> None:
        self._servers = [Redis(folder, "redis-a"), Redis(folder, "redis-b")]
        self._sentinels = [Sentinel(folder, f"sentinel-{number}") for number in range(1, 4)]

    @property
    def urls(self) -> list[str]:
        """The Sentinels' addresses."""
        return [sentinel.url for sentinel in self._sentinels]

    def config(self, *, replicas: int = 1) -> dict:
        """The `redis` section that follows this master."""
        section = {"sentinel": {"master": self.MASTER, "urls": self.urls}}
        return {**section, "replicas": replicas}

    async def __aenter__(self) -> "Sentinels":
        first, second = self._servers
        await first.start()
        await second.start()
        await second.command("REPLICAOF", "127.0.0.1", str(first.port))
        await until("the replica follows", lambda: _is(second, "master_link_status", "up"))
        for sentinel in self._sentinels:
            await sentinel.watch(first, self.MASTER, 2)
        await until("the Sentinels know the replica and each other", self._is_watched)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in (*self._sentinels, *self._servers):
            server.kill()

    async def _is_watched(self) -> bool:
        for sentinel in self._sentinels:
            rows = await sentinel.command("SENTINEL", "MASTER", self.MASTER)
            facts = dict(zip(rows[::2], rows[1::2], strict=True))
            if facts["num-slaves"] != "1" or facts["num-other-sentinels"] != "2":
                return False
        return True

    async def master(self) -> Redis:
        """Who is master by the first Sentinel."""
        answer = await self._sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
        return next(server for server in self._servers if str(server.port) == answer[1])

    async def fail_over(self, *, seconds: float = 30) -> float:
        """Kills the master and waits for the other one; gives the seconds that it took."""
        loop = asyncio.get_running_loop()
        old, began = await self.master(), loop.time()
        old.kill()

        async def promoted() -> bool:
            new = await self.master()
            return new is not old and await _is(new, "role", "master")

        await until("the Sentinels promote the replica", promoted, seconds=seconds)
        return loop.time() - began

    async def repair(self) -> None:
        """Starts the dead server; the Sentinels make it a replica."""
        dead = next(server for server in self._servers if not server.alive())
        await dead.start()
        # Sentinels ask it every 10 s what it is, and then wait whether it learns by itself: 20 s if
        # nothing else is done here.
        follows = lambda: _is(dead, "master_link_status", "up")  # noqa: E731
        await until("it follows the master", follows, seconds=45)

    def tail(self) -> str:
        """The ends of all logs."""
        every = (*self._servers, *self._sentinels)
        return "\n".join(f"-- {server.name}\n{server.tail(10)}" for server in every)


async def _is(server: Redis, field: str, value: str) -> bool:
    try:
        return await server.info(field) == value
    except (OSError, RedisError, asyncio.IncompleteReadError, TimeoutError):
        return False


def _encode(words: tuple[str, ...]) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts += [f"${len(data)}\r\n".encode(), data, b"\r\n"]
    return b"".join(parts)


async def _decode(reader: asyncio.StreamReader) -> object:
    line = (await reader.readuntil(b"\r\n"))[:-2].decode()
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise RedisError(rest)
    if kind == ":":
        return int(rest)
    if kind == "$":
        if int(rest) < 0:
            return None
        return (await reader.readexactly(int(rest) + 2))[:-2].decode("utf-8", "replace")
    if kind == "*":
        return [await _decode(reader) for _ in range(int(rest))]
    return rest
