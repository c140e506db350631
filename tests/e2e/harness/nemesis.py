"""Trouble: each kind does something to a fleet, waits, and undoes it. What it may move, and for how
long, it writes into the history as a cause."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .fleet import Fleet
from .history import History, now
from .netns import Namespace
from .redis import Redis, Sentinels

HOUR = 3600


@dataclass
class Field:
    """What trouble can reach."""

    fleet: Fleet
    history: History
    chance: random.Random
    namespaces: dict[str, Namespace]
    redis_clock: object = None
    # How long a kill, a cut or an outage lasts, seconds.
    outage: tuple[float, float] = (1.0, 6.0)

    def pick(self, names: object) -> str:
        return self.chance.choice(sorted(names))

    def busy_shard(self) -> str:
        """A shard that somebody is on: trouble for an idle one shows nothing."""
        return self.pick({stay.shard for stay in self.history.stays if stay.left == float("inf")})

    async def lasts(self) -> None:
        await asyncio.sleep(self.chance.uniform(*self.outage))

    @asynccontextmanager
    async def cause(self, what: str, *shards: str) -> AsyncIterator[None]:
        cause = self.history.cause(what, *shards)
        try:
            yield
        finally:
            cause.until = now()


async def kill_shard(field: Field) -> None:
    """SIGKILL of a shard with its node, and a new life of it."""
    shard = field.busy_shard()
    async with field.cause("SIGKILL of a shard", shard):
        field.fleet.shards[shard].kill()
        await field.lasts()
        field.fleet.shards[shard].start()


async def kill_gateway(field: Field) -> None:
    """SIGKILL of a gateway: sockets break, rooms stay."""
    gateway = field.fleet.gateways[field.pick(field.fleet.gateways)]
    async with field.cause("SIGKILL of a gateway"):
        gateway.kill()
        await asyncio.sleep(field.chance.uniform(0.5, 3))
        gateway.start()
        await gateway.ready(seconds=40)


async def pause_shard(field: Field) -> None:
    """SIGSTOP of a shard for ten seconds."""
    shard = field.busy_shard()
    async with field.cause("SIGSTOP of a shard, 10 s", shard):
        field.fleet.shards[shard].pause()
        await asyncio.sleep(10)
        field.fleet.shards[shard].resume()


async def pause_gateway(field: Field) -> None:
    """SIGSTOP of a gateway: a witness with a gap, and joins that hang."""
    gateway = field.fleet.gateways[field.pick(field.fleet.gateways)]
    async with field.cause("SIGSTOP of a gateway, 5 s"):
        gateway.pause()
        await asyncio.sleep(5)
        gateway.resume()


async def kill_redis(field: Field) -> None:
    """SIGKILL of Redis: it comes back empty."""
    redis = field.fleet.redis
    assert isinstance(redis, Redis)
    async with field.cause("SIGKILL of Redis"):
        redis.kill()
        await field.lasts()
        await redis.start()


async def pause_redis(field: Field) -> None:
    """SIGSTOP of Redis: connections stay, nothing is answered."""
    redis = field.fleet.redis
    assert isinstance(redis, Redis)
    async with field.cause("SIGSTOP of Redis"):
        redis.pause()
        await field.lasts()
        redis.resume()


async def flush(field: Field) -> None:
    """FLUSHALL: all ownership forgotten, same process."""
    redis = field.fleet.redis
    assert isinstance(redis, Redis)
    async with field.cause("FLUSHALL"):
        await redis.command("FLUSHALL")


async def fail_over(field: Field) -> None:
    """The master dies, Sentinels promote the replica, the dead one comes back as its replica."""
    sentinels = field.fleet.redis
    assert isinstance(sentinels, Sentinels)
    async with field.cause("Sentinel fail-over"):
        await sentinels.fail_over()
        await sentinels.repair()


async def cut_from_redis(field: Field) -> None:
    """One shard cannot reach Redis, everybody else can; resets or silence."""
    shard = field.pick(name for name in field.fleet.redis_links if name in field.fleet.shards)
    relay = field.fleet.redis_links[shard]
    async with field.cause("a shard cut from Redis", shard):
        await field.chance.choice((relay.refuse, relay.silence))()
        await field.lasts()
        await relay.heal()


async def cut_gateway_from_redis(field: Field) -> None:
    """One gateway cannot reach Redis."""
    gateway = field.pick(name for name in field.fleet.redis_links if name in field.fleet.gateways)
    relay = field.fleet.redis_links[gateway]
    async with field.cause("a gateway cut from Redis"):
        await field.chance.choice((relay.refuse, relay.silence))()
        await field.lasts()
        await relay.heal()


async def cut_shard_off(field: Field) -> None:
    """One shard is cut from gateways, other shards and Redis: by its namespace, or its relays."""
    shard = field.busy_shard()
    space = field.namespaces.get(shard)
    relays = [
        links[shard]
        for links in (field.fleet.redis_links, field.fleet.shard_links)
        if shard in links
    ]
    async with field.cause("a shard cut off", shard):
        if space is not None:
            space.cut()
        else:
            for relay in relays:
                await relay.silence()
        await field.lasts()
        if space is not None:
            space.heal()
        for relay in relays:
            await relay.heal()


async def one_way(field: Field) -> None:
    """Frames leave a namespace and nothing comes in, or the other way round."""
    shard = field.pick(field.namespaces)
    inbound = field.chance.random() < 0.5
    async with field.cause("a one-way cable", shard):
        field.namespaces[shard].cut(inbound=inbound, outbound=not inbound)
        await field.lasts()
        field.namespaces[shard].heal()


async def jump_shard_clock(field: Field) -> None:
    """The wall clock of a shard jumps by an hour, and back."""
    shard = field.pick(name for name in field.fleet.clocks if name in field.fleet.shards)
    async with field.cause("wall clock of a shard +-1 h", shard):
        field.fleet.clocks[shard].set(field.chance.choice((-HOUR, HOUR)))
        await field.lasts()
        field.fleet.clocks[shard].set(0)


async def jump_redis_clock(field: Field) -> None:
    """The wall clock of Redis jumps by an hour, and back."""
    async with field.cause("wall clock of Redis +-1 h"):
        field.redis_clock.set(field.chance.choice((-HOUR, HOUR)))
        await field.lasts()
        field.redis_clock.set(0)


async def reload_storm(field: Field) -> None:
    """Fifty reloads of all gateways with other weights. Idle rooms move, live ones do not."""
    fleet = field.fleet
    async with field.cause("50 reloads", "nobody"):
        for number in range(50):
            fleet.write({name: field.chance.randint(1, 3) for name in fleet.urls})
            for gateway in fleet.gateways.values():
                if gateway.alive() and number % 2:
                    gateway.send(signal.SIGHUP)
            await asyncio.sleep(0.03)


async def drain(field: Field) -> None:
    """A drain at one gateway that moves every room, taken back at another."""
    shard = field.busy_shard()
    one, other = (field.pick(field.fleet.gateways) for _ in range(2))
    async with field.cause("drain with migration", shard):
        await field.fleet.drain(shard, by=one)
        await asyncio.sleep(4)
        await field.fleet.undrain(shard, by=other)


Trouble = Callable[[Field], Awaitable[None]]


def kinds(field: Field) -> list[Trouble]:
    """What this field allows."""
    found: list[Trouble] = [kill_shard, kill_gateway, pause_shard, pause_gateway]
    found += [reload_storm, drain]
    if isinstance(field.fleet.redis, Redis):
        found += [kill_redis, pause_redis, flush, cut_from_redis, cut_gateway_from_redis]
        found += [cut_shard_off]
    else:
        found += [fail_over]
    if field.namespaces:
        found += [one_way]
    if any(name in field.fleet.clocks for name in field.fleet.shards):
        found += [jump_shard_clock]
    if field.redis_clock is not None:
        found += [jump_redis_clock]
    return found
