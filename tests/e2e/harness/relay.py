"""A TCP relay that a test can cut: for signalling that breaks while media goes on."""

import asyncio
from types import TracebackType

from .ports import free_port


class Relay:
    """Listens on loopback and passes bytes on to `target`, until it is cut."""

    def __init__(self, target: str) -> None:
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self.address = f"127.0.0.1:{free_port()}"
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Relay":
        host, port = self.address.rsplit(":", 1)
        self._server = await asyncio.start_server(self._accept, host, int(port))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """Resets every connection, as a lost network does; new ones are welcome."""
        count = len(self._open)
        for writer in list(self._open):
            writer.transport.abort()
        return count

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            upstream_reader, upstream = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, upstream}
        self._open |= ends
        try:
            await asyncio.gather(
                _pass(reader, upstream), _pass(upstream_reader, writer), return_exceptions=True
            )
        finally:
            self._open -= ends
            for end in ends:
                end.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
