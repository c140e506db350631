"""Everything that one test starts: programs, peers, pages. It ends them all, in the right order,
and then looks whether one of them panicked or was left behind."""

import asyncio
import contextlib
from pathlib import Path

import yaml

from .browser import Chromium, Page
from .fleet import Fleet, common, placed
from .peer import Peer
from .ports import free_port
from .program import Program


class Stage:
    """The programs, peers and pages of one test."""

    def __init__(self, folder: Path, chromium: Chromium) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self._chromium = chromium
        self._peers: list[Peer] = []
        self._pages: list[Page] = []
        self._exits = contextlib.AsyncExitStack()

    async def up(self, *arguments: str, name: str = "up") -> "Up":
        """`anteroom up` on free ports, ready."""
        bind, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        program = self.program(
            name,
            ["up", "--bind", bind, "--admin", admin, "--data", str(self.folder / name), *arguments],
            admin=admin,
        )
        program.start()
        await program.ready()
        return Up(program, bind)

    async def cluster(
        self,
        weights: dict[str, int],
        *,
        standby: tuple[str, ...] = (),
        nodes: int = 0,
        node: dict | None = None,
        shard: dict | None = None,
    ) -> "Cluster":
        """A gateway and a process per shard. `standby` shards run but are not in the gateway's
        file yet. With `nodes`, each shard has so many nodes in processes of their own; `node` and
        `shard` are added to those sections."""
        cluster = Cluster(self, weights, standby, separate_nodes=nodes, node=node, shard=shard)
        cluster.gateway.start()
        for shard in cluster.shards.values():
            shard.start()
        for node in cluster.nodes.values():
            node.start()
        await cluster.gateway.ready()
        for name, program in (*cluster.shards.items(), *cluster.nodes.items()):
            if name not in standby:
                await program.ready()
        return cluster

    async def fleet(self, **options: object) -> Fleet:
        """Gateways and shards, all processes of their own; see `Fleet`."""
        fleet = Fleet(self, **options)
        await fleet.start()
        return fleet

    def program(
        self, name: str, arguments: list[str], *, admin: str | None, **options: object
    ) -> Program:
        """A program that is not started yet; ended with the stage."""
        program = Program(name, arguments, self.folder, admin=admin, **options)
        self.programs.append(program)
        return program

    async def peer(self, url: str, room: str, identity: str, **options: object) -> Peer:
        """A native participant, connected and publishing."""
        peer = Peer(room, identity)
        self._peers.append(peer)
        await peer.join(url, **options)
        return peer

    async def page(self, url: str, *, ready: bool = True, browser: Chromium | None = None) -> Page:
        """A page of the web client in a fresh profile, in the browser of the run or another."""
        page = await (browser or self._chromium).page()
        self._pages.append(page)
        await page.open(url, joined=ready)
        return page

    async def enter(self, context: contextlib.AbstractAsyncContextManager) -> object:
        """Enters a context that lasts as long as the stage."""
        return await self._exits.enter_async_context(context)

    async def close(self) -> None:
        """Ends everything; raises what went wrong on the way."""
        failures: list[BaseException] = []
        for thing in (*self._pages, *self._peers):
            try:
                await thing.close()
            except Exception as error:
                failures.append(error)
        ends = await asyncio.gather(
            *(program.stop() for program in self.programs), return_exceptions=True
        )
        failures += [end for end in ends if end is not None]
        for program in self.programs:
            try:
                program.assert_no_panic()
            except AssertionError as error:
                failures.append(error)
        # What they stood on: relays, Redis, namespaces.
        try:
            await self._exits.aclose()
        except Exception as error:
            failures.append(error)
        if failures:
            raise ExceptionGroup("while the stage was cleared", failures)

    def report(self) -> list[tuple[str, str]]:
        """What to read after a failure: logs, events, console messages."""
        sections = [(f"log of {program.name}", program.tail()) for program in self.programs]
        sections += [(f"peer {peer.identity}", peer.story()) for peer in self._peers]
        sections += [(f"console of {page.name}", page.story()) for page in self._pages]
        return sections


class Up:
    """A running `anteroom up`."""

    def __init__(self, program: Program, bind: str) -> None:
        self.program = program
        self.bind = bind
        self.ws = f"ws://{bind}"
        self.http = f"http://{bind}"

    @property
    def admin(self) -> Program:
        return self.program


class Cluster:
    """A gateway and its shards, each a process with a file of its own."""

    def __init__(
        self,
        stage: Stage,
        weights: dict[str, int],
        standby: tuple[str, ...],
        *,
        separate_nodes: int,
        node: dict | None = None,
        shard: dict | None = None,
    ) -> None:
        self._folder = stage.folder
        self._node = node or {}
        self._shard = shard or {}
        self.bind = f"127.0.0.1:{free_port()}"
        self.ws = f"ws://{self.bind}"
        self.http = f"http://{self.bind}"
        self._internal = f"127.0.0.1:{free_port()}"
        self._admin = f"127.0.0.1:{free_port()}"
        self.listen = {name: f"127.0.0.1:{free_port()}" for name in (*weights, *standby)}
        self.config = self._folder / "gateway.yaml"
        self.write(weights)
        self.gateway = stage.program(
            "gateway", ["gateway", "--config", str(self.config)], admin=self._admin
        )
        self.shards: dict[str, Program] = {}
        self.nodes: dict[str, Program] = {}
        for name in self.listen:
            self._add_shard(stage, name, separate_nodes)

    @property
    def admin(self) -> Program:
        """Whose admin listener answers for the whole cluster."""
        return self.gateway

    def write(self, weights: dict[str, int], *, draining: tuple[str, ...] = ()) -> None:
        """Writes the gateway's file with these shards."""
        self.config.write_text(
            yaml.safe_dump(self.gateway_config(weights, draining), sort_keys=False)
        )

    def gateway_config(self, weights: dict[str, int], draining: tuple[str, ...] = ()) -> dict:
        """The gateway's file as a value."""
        shards = [
            {
                "id": name,
                "url": f"http://{self.listen[name]}",
                "weight": weight,
                "state": "draining" if name in draining else "active",
            }
            for name, weight in weights.items()
        ]
        return {
            **common(self._admin),
            "gateway": {
                "listen": [{"address": self.bind}],
                "internal": self._internal,
                "shards": shards,
            },
        }

    def _add_shard(self, stage: Stage, name: str, separate_nodes: int) -> None:
        admin, internal = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        shard = {
            "id": name,
            "listen": self.listen[name],
            "internal": internal,
            "directory": f"http://{self._internal}",
            "nodes": 0 if separate_nodes else 1,
            "web": {"enabled": True, "tokens": True},
            **self._shard,
        }
        node = {
            "id": f"n-{name}",
            "udp_port": free_port(),
            "relay_port": free_port(),
            "shard": f"http://{internal}",
            **self._node,
        }
        path = self._folder / f"{name}.yaml"
        sections = {"shard": shard} if separate_nodes else {"shard": shard, "node": node}
        path.write_text(yaml.safe_dump({**common(admin), **sections}, sort_keys=False))
        self.shards[name] = stage.program(name, ["shard", "--config", str(path)], admin=admin)
        for number in range(1, separate_nodes + 1):
            # The only one is called as its shard is.
            called = name if separate_nodes == 1 else f"{name}.{number}"
            own = {**node, "id": f"n-{called}"}
            if number > 1:
                own |= {"udp_port": free_port(), "relay_port": free_port()}
            admin = f"127.0.0.1:{free_port()}"
            path = self._folder / f"node-{called}.yaml"
            path.write_text(yaml.safe_dump({**common(admin), "node": own}, sort_keys=False))
            self.nodes[called] = stage.program(
                f"node-{called}", ["node", "--config", str(path)], admin=admin
            )

    async def placed(
        self, per_shard: dict[str, int], *, prefix: str = "room"
    ) -> dict[str, list[str]]:
        """Room names for which the ring chooses the given shards."""
        return await placed(self.config, per_shard, prefix)
