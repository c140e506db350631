"""Processes of a bench, and what they cost: CPU time and memory with threads and children."""

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.guard import guarded

ROOT = Path(__file__).resolve().parents[2]
BENCH = Path(os.environ.get("BENCH", ROOT / "target/release/bench")).resolve()
# A command of the bench is stuck after so long, seconds.
_STUCK = 120


class Child:
    """A process that ends with this one, in its own group."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = self._spawn(command, folder, log)

    def _spawn(self, command: list[str], folder: Path, log: BinaryIO) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            guarded(*command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def tail(self) -> str:
        """The end of what it has printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self) -> None:
        """Ends it and everything that it has started, politely first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
            if self.process.poll() is not None and not _is_group(self.process.pid):
                return


class Load(Child):
    """A run of `bench`: lines of JSON out, a line in for each. `before` stands before its command."""

    def __init__(
        self, name: str, arguments: list[object], folder: Path, before: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, [*before, str(BENCH), *map(str, arguments)], folder)

    def _spawn(self, command: list[str], folder: Path, log: BinaryIO) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            guarded(*command),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )

    def line(self, event: str) -> dict:
        """The next line, which must be this one."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _STUCK)
        text = self.process.stdout.readline() if ready else b""
        said = json.loads(text) if text else {}
        assert said.get("event") == event, f"bench said {said}, not {event}:\n{self.tail()}"
        return said

    def go(self) -> None:
        """The word that it waits for."""
        self.say("")

    def hurry(self, thread: str) -> bool:
        """Its thread of this name runs before all others on its processor. False: not allowed."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == thread:
                try:
                    os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))
                except PermissionError:
                    return False
        return True

    def say(self, text: str) -> None:
        """A line of its own."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()


@contextmanager
def load(folder: Path, *arguments: object) -> Iterator[Load]:
    """Runs `bench` until the end of the block."""
    one = Load("load", list(arguments), folder)
    try:
        yield one
    finally:
        one.stop()


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def tree(pid: int) -> list[int]:
    """The process and all that it has started."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = thread.read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


class Cpu:
    """CPU time of processes with their threads and children, user and system, from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._threads, self._ticks = self._read()
        self._begun, self._all = time.monotonic(), _busy()

    def _read(self) -> tuple[dict[str, int], float]:
        threads, ticks = {}, 0.0
        for pid in tree(self._pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
                for task in Path(f"/proc/{pid}/task").iterdir():
                    threads[str(task)] = int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
        return threads, ticks

    def seconds(self) -> float:
        """CPU seconds since the start: to the nanosecond, unless a thread has ended."""
        threads, ticks = self._read()
        if self._threads and self._threads.keys() <= threads.keys():
            return sum(now - self._threads.get(one, 0) for one, now in threads.items()) / 1e9
        return ticks - self._ticks

    def share(self) -> float:
        """The same as a share of one processor."""
        return self.seconds() / max(1e-9, time.monotonic() - self._begun)

    def all(self) -> float:
        """What all processes of the machine used, as processors."""
        return (_busy() - self._all) / max(1e-9, time.monotonic() - self._begun)


def _busy() -> float:
    """Seconds that all processors have worked: without idle, waiting for disks, and guests."""
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, line[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> int:
    """Anonymous resident memory of processes, KiB."""
    total = 0
    for one in tree(pid):
        status = Path(f"/proc/{one}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        total += int(found.group(1)) if found else 0
    return total


def settled_kib(pid: int) -> int:
    """The same when it has stopped changing."""
    last = memory_kib(pid)
    for _ in range(10):
        time.sleep(0.3)
        now = memory_kib(pid)
        if abs(now - last) <= max(64, last // 500):
            return now
        last = now
    return last


def wait_for(what: str, condition: Callable[[], bool], child: Child, seconds: float = 30) -> None:
    """Polls until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        if child.process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"{child.name}: waited for {what}:\n{child.tail()}")
        time.sleep(0.02)
