"""Parts of a test that run in a process of their own. The test orders by lines of JSON on standard
input, and each order is answered by a line; answers may come in another order."""

import asyncio
import inspect
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.guard import guarded

# An answer may list all packets of a long talk.
_LINE_BYTES_MAX = 1 << 24
_ANSWER_SECONDS_MAX = 300


class Helper:
    """The process, from the test's side. A subclass names the module that it runs."""

    module: str

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task | None = None
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *guarded(sys.executable, "-m", self.module),
            cwd=Path(__file__).resolve().parents[1],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._reader is not None
        self._process.kill()
        await self._process.wait()
        await self._reader

    async def order(self, order: dict) -> object:
        """One order, and its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({**order, "number": number}).encode() + b"\n")
        await self._process.stdin.drain()
        return await asyncio.wait_for(answer, _ANSWER_SECONDS_MAX)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._answers.pop(answer["number"])
            if waiting.done():
                continue
            if "error" in answer:
                waiting.set_exception(AssertionError(answer["error"]))
            else:
                waiting.set_result(answer["value"])
        for waiting in self._answers.values():
            waiting.set_exception(AssertionError(f"{self.module} has ended"))


async def serve(obey: Callable[[dict], object]) -> None:
    """The process itself: obeys until standard input ends. What libraries print goes to standard
    error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        orders = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        tasks = set()
        async for line in orders:
            task = asyncio.create_task(_answer(json.loads(line), obey, answers.write))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: answers.flush())


async def _answer(
    order: dict, obey: Callable[[dict], object], write: Callable[[str], object]
) -> None:
    answer = {"number": order["number"]}
    try:
        value = obey(order)
        answer["value"] = await value if inspect.isawaitable(value) else value
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    write(json.dumps(answer) + "\n")
