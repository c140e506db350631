"""Many rooms of light participants, and a watch over what the gateways say of them."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterable

import httpx

from .fleet import Fleet
from .history import History, Sighting, now
from .light import Light
from .program import Program

GHOSTS = "anteroom_rooms_live_on_two_shards"
DISAGREEMENTS = "anteroom_directory_disagreements"


class Crowd:
    """`each` participants in every room; each comes by another gateway than the one before."""

    def __init__(
        self,
        fleet: Fleet,
        rooms: Iterable[str],
        each: int,
        *,
        seed: int,
        history: History | None = None,
        **options: object,
    ) -> None:
        self.history = history or History()
        self.rooms = list(rooms)
        turns = fleet.in_turns()
        self.lights = [
            Light(
                room,
                f"{room}.{number}",
                lambda: next(turns),
                self.history,
                random.Random(f"{seed} {room} {number}"),
                **options,
            )
            for room, number in itertools.product(self.rooms, range(each))
        ]
        self._each = each

    async def __aenter__(self) -> "Crowd":
        for light in self.lights:
            light.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(light.stop() for light in self.lights))

    def present(self, rooms: Iterable[str] | None = None) -> bool:
        """Whether everybody (of these rooms) is in."""
        chosen = set(rooms) if rooms is not None else None
        return all(
            light.present() for light in self.lights if chosen is None or light.room in chosen
        )

    def absent(self) -> list[str]:
        """Who is not in, for people."""
        return [light.identity for light in self.lights if not light.present()]

    def breaks(self) -> int:
        """Connections that broke."""
        return sum(light.breaks for light in self.lights)


class Watch:
    """Looks at every gateway again and again: where rooms are, and the ghost counter."""

    def __init__(self, fleet: Fleet, history: History, *, every: float = 0.5) -> None:
        self.ghosts = 0
        self.disagreements = 0
        self.looks = 0
        self.ghost_stories: list[str] = []
        self._gateways = list(fleet.gateways.values())
        self._history = history
        self._every = every
        self._tasks: list[asyncio.Task] = []

    async def __aenter__(self) -> "Watch":
        self._tasks = [asyncio.create_task(self._watch(gateway)) for gateway in self._gateways]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end

    async def _watch(self, gateway: Program) -> None:
        async with httpx.AsyncClient(timeout=5, base_url=f"http://{gateway.admin}") as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    await self._look(client, gateway.name)
                await asyncio.sleep(self._every)

    async def _look(self, client: httpx.AsyncClient, name: str) -> None:
        asked = now()
        answer = await client.get("/v1/rooms")
        told = now()
        if answer.status_code != 200:
            return
        value = answer.json()
        for room in value["rooms"]:
            if room.get("live", True) and room.get("epoch"):
                self._history.sightings.append(
                    Sighting(room["room"], room["shard"], int(room["epoch"]), asked, told)
                )
        split = _count(value.get("live_on_two_shards", 0))
        metrics = (await client.get("/metrics")).text
        counted = max(split, int(gauge(metrics, GHOSTS)))
        if counted:
            self.ghost_stories.append(f"{told:.3f} {name}: {value.get('live_on_two_shards')}")
        self.ghosts = max(self.ghosts, counted)
        self.disagreements = max(self.disagreements, int(gauge(metrics, DISAGREEMENTS)))
        self.looks += 1


def gauge(metrics: str, name: str) -> float:
    """The largest value of a gauge in Prometheus' text; 0 if it is not there."""
    lines = (line for line in metrics.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return max((float(line.rpartition(" ")[2]) for line in lines), default=0.0)


def _count(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else int(value or 0)
