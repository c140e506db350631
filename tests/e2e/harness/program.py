"""One `anteroom` process: started in its own process group, watched through its admin listener and
its log, and certain to be gone afterwards."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx

from .guard import guarded
from .wait import PATIENCE, until

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("ANTEROOM", ROOT / "target/debug/anteroom"))


class Program:
    """A running `anteroom` process."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        folder: Path,
        *,
        admin: str | None,
        before: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """`before` is a command that runs the program (such as `ip netns exec`), `environment` is
        added to that of the test."""
        self.name = name
        self.arguments = arguments
        self.folder = folder
        self.admin = admin
        self._before = before
        self._environment = environment or {}
        self.log = folder / f"{name}.log"
        self.started = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Program":
        """Starts the process; it ends with this one, whatever happens."""
        # `ANTEROOM__...` overrides configuration; `ANTEROOM_LOG` is welcome.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTEROOM__")}
        environment.update(RUST_BACKTRACE="1", HOME=str(self.folder), NO_COLOR="1")
        environment.update(self._environment)
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                guarded(*self._before, str(BINARY), *self.arguments),
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Not a session of its own, see `guard`.
                process_group=0,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    def text(self) -> str:
        """All it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def assert_no_panic(self) -> None:
        """A panic is a failure even if somebody caught it."""
        found = re.search(r"^.*panicked at.*(?:\n.*){0,12}", self.text(), re.MULTILINE)
        assert not found, f"{self.name} panicked:\n{found.group(0)}"

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: to everybody else the process is silent, to itself no time passes."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9` of the whole process group; returns when it is gone."""
        assert self._process is not None
        self._signal_group(signal.SIGKILL)
        self._process.wait(10)

    async def exit_code(self, *, seconds: float = 10) -> int:
        """Waits for the end of the process."""
        process = self._process
        assert process is not None
        await until(f"{self.name} ends", lambda: process.poll() is not None, seconds=seconds)
        assert process.returncode is not None
        return process.returncode

    async def stop(self) -> None:
        """Ends the process, politely first, and makes sure that nothing of its group is left."""
        if self._process is None:
            return
        if self.alive():
            self.resume()
        # The second SIGTERM means "now": nobody waits for a drain here.
        for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGTERM, 4.0)):
            if self.alive():
                self.send(number)
                await self._wait_end(patience)
        if self.alive():
            self._signal_group(signal.SIGKILL)
            self._process.wait(10)
        left = self._signal_group(signal.SIGKILL)
        assert not left, f"{self.name} left processes of its group behind"

    async def _wait_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _signal_group(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def get(self, path: str) -> httpx.Response:
        """`GET` on the admin listener."""
        assert self.admin, f"{self.name} has no admin listener"
        async with httpx.AsyncClient(timeout=10 * PATIENCE) as client:
            return await client.get(f"http://{self.admin}{path}")

    async def post(self, path: str, body: dict | None = None) -> httpx.Response:
        """`POST` on the admin listener."""
        assert self.admin, f"{self.name} has no admin listener"
        async with httpx.AsyncClient(timeout=10 * PATIENCE) as client:
            return await client.post(f"http://{self.admin}{path}", json=body)

    async def answers(self, path: str) -> bool:
        """Whether the admin listener answers 200."""
        assert self.alive(), f"{self.name} ended with {self._process.returncode}:\n{self.tail()}"
        try:
            return (await self.get(path)).status_code == 200
        except httpx.HTTPError:
            return False

    async def ready(self, *, seconds: float = 30) -> "Program":
        """Waits for `/readyz`; fails at once when the process has ended."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not await self._is_ready():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.name} was not ready within {seconds * PATIENCE:.0f} s:\n{self.tail()}"
                )
            await asyncio.sleep(0.05)
        return self

    async def _is_ready(self) -> bool:
        if not self.alive():
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.tail()}")
        try:
            return (await self.get("/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def shards(self) -> dict[str, dict]:
        """`/v1/shards` by shard id."""
        return {shard["id"]: shard for shard in await self._list("/v1/shards", "shards")}

    async def rooms(self) -> dict[str, dict]:
        """`/v1/rooms` by room name."""
        return {room["room"]: room for room in await self._list("/v1/rooms", "rooms")}

    async def shard_of(self, room: str) -> str | None:
        """Where a live room is, by `/v1/rooms`."""
        found = (await self.rooms()).get(room)
        return found["shard"] if found else None

    async def metric(self, name: str) -> float:
        """A metric, summed over its labels."""
        lines = (await self.get("/metrics")).text.splitlines()
        values = [line.rpartition(" ")[2] for line in lines if re.match(rf"{name}[{{ ]", line)]
        assert values, f"{name} is not measured"
        return sum(float(value) for value in values)

    async def _list(self, path: str, key: str) -> list[dict]:
        answer = await self.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        value = answer.json()
        return value if isinstance(value, list) else value[key]

    def media_ports(self, *, known: set[int]) -> tuple[set[int], set[int]]:
        """UDP and TCP ports that the process has bound, less the `known` ones."""
        inodes = _socket_inodes(self.pid)
        udp = _bound_ports("udp", inodes) | _bound_ports("udp6", inodes)
        listening = _bound_ports("tcp", inodes, state="0A") | _bound_ports(
            "tcp6", inodes, state="0A"
        )
        return udp - known, listening - known


def participants(room: dict) -> int:
    """How many are in a room of `/v1/rooms`."""
    value = room["participants"]
    return value if isinstance(value, int) else len(value)


async def command(
    *arguments: str,
    stdin: str = "",
    seconds: float = 60,
    environment: dict[str, str] | None = None,
) -> tuple[int, str, str]:
    """Runs `anteroom` to its end: exit code, standard output, standard error. `environment` is added
    to that of the test."""
    process = await asyncio.create_subprocess_exec(
        str(BINARY),
        *arguments,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, error = await asyncio.wait_for(process.communicate(stdin.encode()), seconds * PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"anteroom {' '.join(arguments)} did not end in {seconds} s") from None
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def routes(config: Path, requests: list[dict]) -> list[dict]:
    """What `anteroom route` says of many requests (`method`, `url`, `headers`)."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    code, out, error = await command(
        "route", "--config", str(config), "--json", "-", stdin=lines, seconds=120
    )
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == len(requests), f"{len(answers)} answers, exit code {code}: {error}"
    return answers


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


def _bound_ports(table: str, inodes: set[str], *, state: str | None = None) -> set[int]:
    path = Path(f"/proc/net/{table}")
    rows = [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
    return {
        int(row[1].rsplit(":", 1)[1], 16)
        for row in rows
        if row[9] in inodes and (state is None or row[3] == state)
    }
