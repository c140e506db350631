"""A TCP relay that a test can cut or silence: for links that break while everything else goes on."""

import asyncio
import itertools
from types import TracebackType

from .ports import free_port


class Relay:
    """Listens and passes bytes on to `targets`, one after the other, until it is told otherwise."""

    def __init__(self, *targets: str, host: str = "127.0.0.1") -> None:
        self._targets = [_split(target) for target in targets]
        self._turn = itertools.count()
        self._host = host
        self.address = f"{host}:{free_port()}"
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self._server: asyncio.Server | None = None
        self._refuses = False
        self._passes = asyncio.Event()
        self._passes.set()

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._accept, *_split(self.address), backlog=1024)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """Resets every connection, as a lost network does; new ones are welcome."""
        count = len(self._open)
        for writer in list(self._open):
            writer.transport.abort()
        return count

    def refuse(self) -> None:
        """Resets every connection and all that follow."""
        self._refuses = True
        self.cut()

    def silence(self) -> None:
        """Nothing passes any more in either direction, and nobody is told: a black hole."""
        self._passes.clear()

    def heal(self) -> None:
        """Passes everything again. What was sent into the silence arrives late."""
        self._refuses = False
        self._passes.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refuses:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, upstream}
        self._open |= ends
        try:
            await asyncio.gather(
                self._pass(reader, upstream),
                self._pass(upstream_reader, writer),
                return_exceptions=True,
            )
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next target that takes the connection, as a balancer in front of gateways does."""
        first = next(self._turn)
        for offset in range(len(self._targets)):
            host, port = self._targets[(first + offset) % len(self._targets)]
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                if offset + 1 == len(self._targets):
                    raise
        raise OSError("no target")

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            await self._passes.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # A reset on one side is a reset on the other: a half-open relay would hide it.
            for end in list(self._open):
                if end is writer:
                    end.transport.abort()
            raise


def _split(address: str) -> tuple[str, int]:
    host, port = address.rsplit(":", 1)
    return host, int(port)
