"""Chaos: two gateways, three shards and a Redis, all real processes; many light participants, some
real ones; one trouble after the other; and a table of what the clients saw."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from . import faketime, history, nemesis, netns
from .browser import Chromium, Page
from .faketime import Clock
from .fleet import Fleet
from .history import Cause, History, quantile
from .load import Crowd, Watch
from .peer import Peer
from .redis import Redis, Sentinels
from .stage import Stage
from .wait import until

# A native participant, and whom it hears; `None`: a browser, which tells what it sees.
Person = tuple[Peer, str | None]

# A room without people ends so soon.
ROOM_ENDS_S = 1

# How long everybody may need to be back after a trouble: a lease, a grace, the clients' pauses.
CALM_WITHIN = 40.0


@dataclass
class Plan:
    """What to do."""

    minutes: float
    seed: int
    rooms: int = 40
    each: int = 3
    # Rooms that one person visits now and then: they end and begin all the time.
    visited: int = 15
    peers: int = 1
    browsers: int = 0
    sentinels: bool = False
    # Only these kinds, in this order, again and again; none: all, shuffled.
    troubles: tuple[str, ...] = ()
    # Calm between two troubles, seconds.
    calm: tuple[float, float] = (1.0, 4.0)
    outage: tuple[float, float] = (1.0, 6.0)


@dataclass
class Outcome:
    """What came of it."""

    history: History
    violations: list[history.Violation]
    ghosts: int
    disagreements: int
    looks: int
    grants: int
    seconds: float
    # A machine that is too slow, or worse: look at it.
    starved: int
    troubles: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.violations or self.ghosts or self.complaints)

    def count(self, rule: str) -> int:
        return sum(violation.rule == rule for violation in self.violations)

    def table(self) -> str:
        """For people."""
        seen = self.history
        resumed = sum(stay.resumed for stay in seen.stays)
        rows = [
            ("seconds", f"{self.seconds:.0f}"),
            ("troubles", len(self.troubles)),
            ("joins accepted", len(seen.stays) - resumed),
            ("resumes accepted", resumed),
            ("changes granted", self.grants),
            ("looks at the room lists", self.looks),
            ("rooms live on two shards at once", self.count(history.OVERLAP)),
            ("joins accepted twice", self.count(history.TWICE)),
            ("epochs that did not grow", self.count(history.EPOCH)),
            ("moves without a cause", self.count(history.UNCAUSED)),
            ("ghost counter, maximum", self.ghosts),
            ("directory disagreements, maximum", self.disagreements),
            ("leases lost without trouble", self.starved),
        ]
        lines = [f"{name:36} {value:>9}" for name, value in rows]
        lines += [
            "",
            f"{'trouble':32} {'n':>3} {'broken':>7} {'untouched':>9} {'p50 s':>7} {'p99 s':>7}",
        ]
        for one in history.recoveries(seen):
            p50, p99 = quantile(one.times, 0.5), quantile(one.times, 0.99)
            lines.append(
                f"{one.what:32} {one.events:>3} {len(one.times):>7} {one.untouched:>9} "
                f"{p50:>7.2f} {p99:>7.2f}"
            )
        refusals = ", ".join(f"{what}: {count}" for what, count in seen.refusals.most_common())
        lines += ["", f"refused or failed tries: {refusals or 'none'}"]
        lines += [f"VIOLATION {violation}" for violation in self.violations[:20]]
        lines += [f"COMPLAINT {complaint}" for complaint in self.complaints[:20]]
        return "\n".join(lines)


def limits() -> list[str]:
    """What cannot be done on this machine, and why."""
    found = []
    if reason := netns.unavailable():
        found.append(f"no network namespaces, links are cut by relays only: {reason}")
    if reason := faketime.unavailable():
        found.append(f"no clock jumps: {reason}")
    return found


async def run(plan: Plan, stage: Stage, tell: Callable[[str], None]) -> Outcome:
    """All of it."""
    for limit in limits():
        tell(f"LIMIT {limit}")
    chance = random.Random(plan.seed)
    fleet, spaces, redis_clock = await _fleet(plan, stage)
    crowd = Crowd(
        fleet, [f"room-{n}" for n in range(plan.rooms)], plan.each, seed=plan.seed, life=(8, 40)
    )
    visitors = Crowd(
        fleet,
        [f"visited-{n}" for n in range(plan.visited)],
        1,
        seed=plan.seed,
        history=crowd.history,
        life=(1, 4),
        pause=(ROOM_ENDS_S + 0.5, ROOM_ENDS_S + 4),
    )
    ground = nemesis.Field(
        fleet, crowd.history, chance, spaces, redis_clock=redis_clock, outage=plan.outage
    )
    began = time.monotonic()
    done: list[str] = []
    complaints: list[str] = []
    async with (
        crowd,
        visitors,
        Watch(fleet, crowd.history) as watch,
        contextlib.AsyncExitStack() as real,
    ):
        await until("everybody is in", crowd.present, seconds=60, state=crowd.absent)
        people, pages = await _real_ones(plan, stage, fleet)
        real.push_async_callback(_close, people)
        for trouble in _order(plan, ground):
            if time.monotonic() > began + plan.minutes * 60:
                break
            tell(f"{time.monotonic() - began:6.1f} s  {trouble.__doc__.splitlines()[0]}")
            done.append(trouble.__name__)
            await trouble(ground)
            if complaint := await _calm(crowd, fleet, people):
                complaints.append(f"after {trouble.__name__}: {complaint}")
            await asyncio.sleep(chance.uniform(*plan.calm))
        complaints += await _still_meet(people, pages)
    starved = _lost_leases(fleet, crowd.history)
    with contextlib.suppress(OSError):
        crowd.history.write(stage.folder / "history.jsonl")
    return Outcome(
        crowd.history,
        history.check(crowd.history),
        watch.ghosts,
        watch.disagreements,
        watch.looks,
        sum(light.grants for light in (*crowd.lights, *visitors.lights)),
        time.monotonic() - began,
        starved,
        done,
        [*complaints, *watch.ghost_stories[:5]],
    )


async def _fleet(plan: Plan, stage: Stage) -> tuple[Fleet, dict, Clock | None]:
    clocks = faketime.unavailable() is None
    ends = {"departure_timeout_s": ROOM_ENDS_S, "empty_timeout_s": ROOM_ENDS_S}
    if plan.sentinels:
        redis = await stage.enter(Sentinels(stage.folder))
        shard_clocks = ("s2",) if clocks else ()
        return await stage.fleet(redis=redis, clocks=shard_clocks, shard_options=ends), {}, None
    spaces = {} if netns.unavailable() else {"s3": await stage.enter(netns.Namespace())}
    clock = Clock(stage.folder, "redis") if clocks else None
    redis = await stage.enter(Redis(stage.folder, clock=clock))
    fleet = await stage.fleet(
        redis=redis,
        links=True,
        namespaces=spaces,
        clocks=("s2",) if clocks else (),
        shard_options=ends,
    )
    return fleet, spaces, clock


def _order(plan: Plan, ground: nemesis.Field) -> list[nemesis.Trouble]:
    kinds = nemesis.kinds(ground)
    if plan.troubles:
        by_name = {kind.__name__: kind for kind in kinds}
        return [by_name[name] for name in plan.troubles if name in by_name]
    order: list[nemesis.Trouble] = []
    # Every kind once, then every kind again in another order.
    for _ in range(200):
        ground.chance.shuffle(kinds)
        order += kinds
    return order


async def _calm(crowd: Crowd, fleet: Fleet, people: list[Person]) -> str:
    """Waits until everybody is back; says who is not."""
    deadline = time.monotonic() + CALM_WITHIN
    # Somebody is always on the way from one life to the next.
    while time.monotonic() < deadline:
        missing = {light.room for light in crowd.lights if not light.present()}
        empty = {room for room in missing if not _anybody(crowd, room)}
        out = [f"{peer.room_name} {peer.identity}" for peer, _ in people if not peer.connected()]
        if not empty and not out and all(shard.alive() for shard in fleet.shards.values()):
            return ""
        await asyncio.sleep(0.1)
    return f"not back within {CALM_WITHIN:.0f} s: anybody of {sorted(empty)[:5]}, {out}"


_LOST = re.compile(r"^(\S+Z) .*the lease has ended: all rooms given up", re.MULTILINE)


def _lost_leases(fleet: Fleet, seen: History) -> int:
    """Leases that ended though nothing had been done to their shards, by the shards' logs: the rooms
    that moved by it had a cause. Gives how many."""
    since_boot = time.time() - history.now()
    count = 0
    for name, shard in fleet.shards.items():
        for found in _LOST.finditer(shard.text()):
            lost = datetime.fromisoformat(found.group(1)).timestamp() - since_boot
            if not any(cause.explains(name, lost) for cause in seen.causes):
                count += 1
                # The shard counts by itself, so that rooms go a moment before it says so.
                cause = Cause("lease lost without trouble", lost - 1, lost, frozenset({name}))
                seen.causes.append(cause)
    return count


def _anybody(crowd: Crowd, room: str) -> bool:
    return any(light.present() for light in crowd.lights if light.room == room)


async def _real_ones(plan: Plan, stage: Stage, fleet: Fleet) -> tuple[list[Person], list[Page]]:
    """Pairs of native participants with sound, and of browsers."""
    people, pages = [], []
    for number in range(plan.peers):
        for name, other in (("ann", "bob"), ("bob", "ann")):
            people.append((await _native(fleet, f"real-{number}", name), other))
    for number in range(plan.browsers):
        # The picture is the native client's: Chromium's fake camera does not survive all this.
        room = f"pages-{number}"
        people.append((await _native(fleet, room, "cy"), None))
        url = f"{fleet.http}/{room}?autojoin=1&name=Ada&audio=1&video=0"
        pages.append(await stage.page(url))
    await asyncio.gather(*(page.sees() for page in pages))
    return people, pages


async def _native(fleet: Fleet, room: str, name: str) -> Peer:
    peer = Peer(room, name)
    return await peer.join(fleet.ws, small=True)


async def _still_meet(people: list[Person], pages: list[Page]) -> list[str]:
    """Who does not hear or see the other in the end, without being asked to join again."""
    complaints = []
    publishes = {(peer.room_name, peer.identity): peer.publications() for peer, _ in people}
    for peer, other in people:
        # The native client forgets its tracks when one reconnect breaks into another.
        if other is None or not publishes[peer.room_name, other]:
            continue
        try:
            await peer.hears(other, seconds=CALM_WITHIN)
        except AssertionError as error:
            count = publishes[peer.room_name, other]
            text = f"{other} publishes {count} tracks; {error}\n{peer.story()}"
            complaints.append(f"{peer.room_name} {peer.identity}: {text}")
    for number, page in enumerate(pages):
        if not publishes[f"pages-{number}", "cy"]:
            continue
        try:
            await page.sees("cy", seconds=CALM_WITHIN)
        except AssertionError as error:
            count = publishes[f"pages-{number}", "cy"]
            complaints.append(f"{page.name}: cy publishes {count} tracks; {error}")
    return complaints


async def _close(people: list[Person]) -> None:
    await asyncio.gather(*(peer.close() for peer, _ in people), return_exceptions=True)


async def in_folder(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Outcome:
    """A run on a stage of its own; whatever the stage finds at its end is a complaint."""
    chromium = Chromium()
    stage = Stage(folder, chromium)
    try:
        outcome = await run(plan, stage, tell)
    except BaseException:
        for title, text in stage.report():
            tell(f"--- {title}\n{text}")
        raise
    finally:
        try:
            await stage.close()
        finally:
            await chromium.close()
    return outcome
