"""Gateways, shards and their nodes, every one a process, over Redis or (with one gateway) over the
directory in the gateway's memory."""

import itertools
from pathlib import Path
from typing import Protocol

import yaml

from .faketime import Clock
from .netns import Namespace
from .ports import free_port
from .program import Program, routes
from .redis import Redis, Sentinels
from .relay import Relay
from .relay_process import Link, RelayProcess
from .tokens import KEY, SECRET
from .wait import until


class _Stage(Protocol):
    folder: Path

    def program(self, name: str, arguments: list[str], **options: object) -> Program: ...

    async def enter(self, context: object) -> object: ...


class Fleet:
    """`gateways` gateways (`g1`...) in front of `shards` shards (`s1`...).

    With `links` every way between two programs is a relay: `redis_links[program]` to Redis and
    `shard_links[shard]` to a shard, from gateways and other shards alike. Shards in `namespaces` live
    in a network of their own. `clocks` names programs whose wall clock the test sets. `front` is one
    address for all gateways, taken in turns. `extra` sections go into every file.
    """

    def __init__(
        self,
        stage: _Stage,
        *,
        gateways: int = 2,
        shards: int = 3,
        redis: Redis | Sentinels | dict | None = None,
        nodes_apart: bool = False,
        links: bool = False,
        namespaces: dict[str, Namespace] | None = None,
        clocks: tuple[str, ...] = (),
        standby: tuple[str, ...] = (),
        shard_options: dict | None = None,
        extra: dict | None = None,
    ) -> None:
        assert redis is not None or gateways == 1, "gateways share a directory only over Redis"
        self.redis = redis
        self.gateways: dict[str, Program] = {}
        self.shards: dict[str, Program] = {}
        self.nodes: dict[str, Program] = {}
        self.clocks = {name: Clock(stage.folder, name) for name in clocks}
        self.redis_links: dict[str, Link] = {}
        self.shard_links: dict[str, Link] = {}
        self.standby = standby
        self._stage = stage
        self._nodes_apart = nodes_apart
        self._namespaces = namespaces or {}
        self._shard_options = shard_options or {}
        self._extra = extra or {}
        # What programs in namespaces can reach, too.
        self._host = next((space.outside for space in self._namespaces.values()), "127.0.0.1")
        names = [f"s{number}" for number in range(1, shards + 1)]
        self.names = [*names, *standby]
        self._listen = {name: f"{self._host_of(name)}:{free_port()}" for name in self.names}
        self._binds = {f"g{n}": f"127.0.0.1:{free_port()}" for n in range(1, gateways + 1)}
        self._internal = f"127.0.0.1:{free_port()}"
        self._links = links
        self.front = Relay(*self._binds.values())
        self.urls = dict.fromkeys(names, 1)

    def _host_of(self, shard: str) -> str:
        space = self._namespaces.get(shard)
        return space.inside if space else self._host

    async def _make_links(self) -> None:
        process = await self._stage.enter(RelayProcess())
        if isinstance(self.redis, Redis):
            for name in (*self._binds, *self.names):
                self.redis_links[name] = await process.relay(self.redis.address, host=self._host)
        for name in self.names:
            if name not in self._namespaces:
                self.shard_links[name] = await process.relay(self._listen[name], host=self._host)

    @property
    def ws(self) -> str:
        """The clients' address: all gateways in turns."""
        return f"ws://{self.front.address}"

    @property
    def http(self) -> str:
        return f"http://{self.front.address}"

    def ws_of(self, gateway: str) -> str:
        """One gateway's address."""
        return f"ws://{self._binds[gateway]}"

    @property
    def admin(self) -> Program:
        """A gateway that runs; its admin listener answers for the whole fleet."""
        return next(gateway for gateway in self.gateways.values() if gateway.alive())

    async def start(self) -> None:
        """Starts everything and waits until each gateway sees every shard's lease."""
        await self._stage.enter(self.front)
        if self._links:
            await self._make_links()
        self.prepare()
        for program in (*self.gateways.values(), *self.shards.values(), *self.nodes.values()):
            program.start()
        await self.settled()

    def prepare(self) -> None:
        """Writes all files; nothing is started."""
        for name in self._binds:
            self._add_gateway(name)
        for name in self.names:
            self._add_shard(name)

    async def settled(self, *, seconds: float = 40) -> None:
        """Waits until every gateway is ready and sees the lease of every shard in its file."""
        for gateway in self.gateways.values():
            await gateway.ready(seconds=seconds)

            async def complete(gateway: Program = gateway) -> bool:
                shards = await gateway.shards()
                return all(shards[name]["lease"]["alive"] for name in self.urls)

            await until(
                f"{gateway.name} sees every lease", complete, seconds=seconds, state=gateway.tail
            )
        for name in self.urls:
            for program in (self.shards[name], self.nodes.get(name)):
                if program is not None and program.admin:
                    await program.ready(seconds=seconds)

    def config_of(self, name: str) -> Path:
        """The file of a program."""
        return self._stage.folder / f"{name}.yaml"

    def write(self, weights: dict[str, int], *, draining: tuple[str, ...] = ()) -> None:
        """Writes the files of all gateways with these shards."""
        self.urls = dict(weights)
        for name in self._binds:
            self._write(name, self.gateway_config(name, weights, draining))

    def write_one(self, name: str, weights: dict[str, int]) -> None:
        """Writes one gateway's file only: gateways may disagree for a while."""
        self._write(name, self.gateway_config(name, weights))

    def gateway_config(
        self, name: str, weights: dict[str, int], draining: tuple[str, ...] = ()
    ) -> dict:
        """A gateway's file as a value."""
        admin = self.gateways[name].admin if name in self.gateways else None
        shards = [
            {
                "id": shard,
                "url": f"http://{self._address_of(shard)}",
                "weight": weight,
                "state": "draining" if shard in draining else "active",
            }
            for shard, weight in weights.items()
        ]
        gateway = {"listen": [{"address": self._binds[name]}], "shards": shards}
        if self.redis is None:
            gateway["internal"] = self._internal
        return {**common(admin), **self._directory(name), "gateway": gateway}

    def _address_of(self, shard: str) -> str:
        relay = self.shard_links.get(shard)
        return relay.address if relay else self._listen[shard]

    def _directory(self, name: str) -> dict:
        match self.redis:
            case None:
                return {}
            case Redis():
                relay = self.redis_links.get(name)
                address = relay.address if relay else self.redis.address
                return {"directory": {"redis": {"url": self.redis.url_at(address)}}}
            case Sentinels():
                return {"directory": {"redis": self.redis.config()}}
            case section:
                return {"directory": {"redis": section}}

    def _add_gateway(self, name: str) -> None:
        self.gateways[name] = self._program(
            name, "gateway", lambda _: self.gateway_config(name, self.urls)
        )

    def _add_shard(self, name: str) -> None:
        internal = f"127.0.0.1:{free_port()}"
        node = {"id": f"n-{name}", "udp_port": free_port(), "shard": f"http://{internal}"}
        shard = {
            "id": name,
            "listen": self._listen[name],
            "internal": internal,
            "nodes": 0 if self._nodes_apart else 1,
            "web": {"enabled": True, "tokens": True},
            **self._shard_options,
        }
        if self.redis is None:
            shard["directory"] = f"http://{self._internal}"
        inside = {} if self._nodes_apart else {"node": node}
        self.shards[name] = self._program(
            name,
            "shard",
            lambda admin: {**common(admin), **self._directory(name), "shard": shard, **inside},
        )
        if self._nodes_apart:
            self.nodes[name] = self._program(
                f"node-{name}", "node", lambda admin: {**common(admin), "node": node}
            )

    def _program(self, name: str, role: str, config: object) -> Program:
        admin = f"127.0.0.1:{free_port()}"
        space = self._namespaces.get(name)
        clock = self.clocks.get(name)
        program = self._stage.program(
            name,
            [role, "--config", str(self.config_of(name))],
            # Loopback of another namespace is out of reach.
            admin=None if space else admin,
            before=space.before if space else (),
            environment=clock.environment() if clock else None,
        )
        if role == "gateway":
            self.gateways[name] = program
        self._write(name, config(admin))
        return program

    def _write(self, name: str, config: dict) -> None:
        # Replaced at once: whoever watches the file never reads half of it.
        path = self.config_of(name)
        draft = path.with_suffix(".draft")
        draft.write_text(yaml.safe_dump({**config, **self._extra}, sort_keys=False))
        draft.rename(path)

    async def placed(
        self, per_shard: dict[str, int], *, prefix: str = "room"
    ) -> dict[str, list[str]]:
        """Room names for which the ring chooses the given shards."""
        return await placed(self.config_of("g1"), per_shard, prefix)

    async def drain(self, shard: str, *, deadline_s: int = 0, by: str = "g1") -> None:
        """Orders a drain at one gateway."""
        answer = await self.gateways[by].post(
            f"/v1/shards/{shard}/drain", {"deadline_s": deadline_s}
        )
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"

    async def undrain(self, shard: str, *, by: str = "g1") -> None:
        """Takes the order back."""
        answer = await self.gateways[by].post(f"/v1/shards/{shard}/undrain")
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"

    def in_turns(self) -> "itertools.cycle[str]":
        """The gateways' addresses, again and again: a client's own balancing."""
        return itertools.cycle(self.ws_of(name) for name in self._binds)


async def placed(config: Path, per_shard: dict[str, int], prefix: str) -> dict[str, list[str]]:
    """Room names for which the ring of this file chooses the given shards, by `anteroom route`."""
    wanted = max(per_shard.values())
    names = [f"{prefix}-{number}" for number in range(60 * len(per_shard) + 12 * wanted)]
    requests = [{"method": "GET", "url": f"/r/{name}/", "headers": {}} for name in names]
    found: dict[str, list[str]] = {shard: [] for shard in per_shard}
    for name, answer in zip(names, await routes(config, requests), strict=True):
        of_shard = found.get(answer["shard"])
        if of_shard is not None and len(of_shard) < per_shard[answer["shard"]]:
            of_shard.append(name)
    assert all(len(found[shard]) == count for shard, count in per_shard.items()), found
    return found


def common(admin: str | None) -> dict:
    """The part that the files of all programs share."""
    return {
        "version": 1,
        "keys": {KEY: SECRET},
        "cluster": {"secret": "test-cluster-secret"},
        "rooms": {"case": "sensitive"},
        **({"admin": {"listen": admin}} if admin else {}),
    }
