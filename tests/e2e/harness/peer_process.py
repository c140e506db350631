"""Native participants in a process of their own.

The client library hands every event of a process to every room in it, so many participants of one
process wait for each other: gaps measured there are the test's own. The test orders by lines of JSON on
standard input, and each order is answered by a line.

Run as a program it is that process.
"""

import asyncio
import contextlib
import inspect
import itertools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from harness.peer import Gap, Peer

_SETPRIV = shutil.which("setpriv")
# An answer may list all packets of a long talk.
_LINE_BYTES_MAX = 1 << 24


class PeerProcess:
    """The process, from the test's side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls) -> AsyncIterator["PeerProcess"]:
        """Lasts as long as the context."""
        guard = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []
        process = await asyncio.create_subprocess_exec(
            *guard,
            *(sys.executable, "-m", "harness.peer_process"),
            cwd=Path(__file__).resolve().parents[1],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        peers = cls(process)
        reader = asyncio.create_task(peers._read())
        try:
            yield peers
        finally:
            process.kill()
            await process.wait()
            await reader

    async def peer(self, url: str, room: str, identity: str, **options: object) -> "RemotePeer":
        """A participant in there, connected and publishing."""
        peer = RemotePeer(self, identity)
        await self.order({"open": identity, "room": room})
        await peer.call("join", url, **options)
        return peer

    async def order(self, order: dict) -> object:
        """One order, and its answer."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**order, "number": number}).encode() + b"\n")
        await self._process.stdin.drain()
        return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._answers.pop(answer["number"])
            if "error" in answer:
                waiting.set_exception(AssertionError(answer["error"]))
            else:
                waiting.set_result(answer["value"])
        for waiting in self._answers.values():
            waiting.set_exception(AssertionError("the process of the peers has ended"))


class RemotePeer:
    """One participant in there."""

    def __init__(self, process: PeerProcess, identity: str) -> None:
        self.identity = identity
        self._process = process

    async def call(self, method: str, *args: object, **options: object) -> object:
        """Calls a method of its `Peer`; the answer is what JSON makes of it."""
        return await self._process.order(
            {"peer": self.identity, "call": method, "args": args, "options": options}
        )

    async def gaps(self) -> dict[str, Gap]:
        """The gaps since `mark`. All processes of a machine have the same clock."""
        gaps = await self._process.order({"peer": self.identity, "gaps": True})
        return {what: Gap(**gap) for what, gap in gaps.items()}

    async def happened(self, *names: str) -> list[tuple[float, str, str]]:
        """The events of these names."""
        return [tuple(event) for event in await self.call("happened", *names)]


class _Host:
    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._peers: dict[str, Peer] = {}

    async def serve(self) -> None:
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        tasks = set()
        async for line in reader:
            task = asyncio.create_task(self._answer(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _answer(self, order: dict) -> None:
        answer = {"number": order["number"]}
        try:
            answer["value"] = await self._do(order)
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    async def _do(self, order: dict) -> object:
        if "open" in order:
            self._peers[order["open"]] = Peer(order["room"], order["open"])
            return None
        peer = self._peers[order["peer"]]
        if "gaps" in order:
            return {what: vars(gap) for what, gap in peer.gaps.items()}
        value = getattr(peer, order["call"])(*order["args"], **order["options"])
        value = await value if inspect.isawaitable(value) else value
        return None if isinstance(value, Peer) else value


def main() -> None:
    """Serves until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(_Host(answers).serve())


if __name__ == "__main__":
    main()
