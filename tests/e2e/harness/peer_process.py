"""Native participants in a process of their own.

The client library hands every event of a process to every room in it, so many participants of one
process wait for each other: gaps measured there are the test's own.

Run as a program it is that process.
"""

import asyncio
import inspect

from harness.helper import Helper, serve
from harness.peer import Gap, Peer


class PeerProcess(Helper):
    """The process, from the test's side."""

    module = "harness.peer_process"

    async def peer(self, url: str, room: str, identity: str, **options: object) -> "RemotePeer":
        """A participant in there, connected and publishing."""
        peer = RemotePeer(self, identity)
        await self.order({"open": identity, "room": room})
        await peer.call("join", url, **options)
        return peer


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
    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    async def obey(self, order: dict) -> object:
        if "open" in order:
            self._peers[order["open"]] = Peer(order["room"], order["open"])
            return None
        peer = self._peers[order["peer"]]
        if "gaps" in order:
            return {what: vars(gap) for what, gap in peer.gaps.items()}
        value = getattr(peer, order["call"])(*order["args"], **order["options"])
        value = await value if inspect.isawaitable(value) else value
        return None if isinstance(value, Peer) else value


if __name__ == "__main__":
    asyncio.run(serve(_Host().obey))
