"""What clients saw of a deployment, and the rules that it must keep.

Every moment is taken by the clients with `CLOCK_BOOTTIME`, in this process: a fake clock in a program
under test cannot bend it. *Live* means what `docs/design/ownership.md` means: a shard admitted
somebody to the room, or changed its state on request.
"""

import bisect
import collections
import itertools
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


def now() -> float:
    """Seconds of `CLOCK_BOOTTIME`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Stay:
    """One signalling connection that a shard accepted, as its client saw it."""

    join_id: str
    room: str
    shard: str
    sid: str
    # When the join was sent, and when its answer was there: the shard was live in between.
    asked: float
    accepted: float
    # When the last request was sent that the shard then granted: it was live a little after that.
    granted: float = 0.0
    # When the connection ended for the client.
    left: float = float("inf")
    # Whether the client ended it, not the server or the network.
    polite: bool = False
    # Whether it went on with an earlier stay: that join was accepted before.
    resumed: bool = False

    @property
    def live(self) -> tuple[float, float] | None:
        """In all of this time the shard was live for the room. `None` if nothing was granted after
        the join: an answer may have been under way for long."""
        return (self.accepted, self.granted) if self.granted > self.accepted else None


@dataclass
class Sighting:
    """A room in a gateway's list: true at some moment between `asked` and `told`."""

    room: str
    shard: str
    epoch: int
    asked: float
    told: float


@dataclass
class Cause:
    """Why rooms of these shards may move from `since` to `until`. No shards: of all."""

    what: str
    since: float
    until: float = float("inf")
    shards: frozenset[str] = frozenset()

    def concerns(self, shard: str) -> bool:
        """Whether it was done to this shard, among others."""
        return not self.shards or shard in self.shards

    def explains(self, shard: str, moment: float, settle: float = 5.0) -> bool:
        """Whether what happens to the shard's rooms at this moment may come from it: a lease ends so
        long after what ends it, and some more."""
        return self.concerns(shard) and self.since <= moment <= self.until + settle


@dataclass
class Presence:
    """Somebody was seen in a room: which join it came by, and as which participant."""

    room: str
    join_id: str
    sid: str


@dataclass
class History:
    """All that was seen."""

    stays: list[Stay] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    presences: set[tuple[str, str, str]] = field(default_factory=set)
    causes: list[Cause] = field(default_factory=list)
    refusals: collections.Counter = field(default_factory=collections.Counter)

    def saw(self, room: str, join_id: str, sid: str) -> None:
        """Somebody was told of a participant."""
        self.presences.add((room, join_id, sid))

    def cause(self, what: str, *shards: str) -> Cause:
        """From now on rooms of these shards may move."""
        cause = Cause(what, now(), shards=frozenset(shards))
        self.causes.append(cause)
        return cause

    def write(self, path: Path) -> None:
        """Keeps the history as JSON lines."""
        with path.open("w") as file:
            for kind in ("stays", "sightings"):
                for entry in getattr(self, kind):
                    file.write(json.dumps({"kind": kind[:-1], **asdict(entry)}) + "\n")
            for cause in self.causes:
                entry = {**asdict(cause), "shards": sorted(cause.shards)}
                file.write(json.dumps({"kind": "cause", **entry}) + "\n")


@dataclass
class Violation:
    """A rule that was broken, and by what."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


OVERLAP = "a room was live on two shards"
TWICE = "a join was accepted twice"
EPOCH = "an epoch did not grow"
UNCAUSED = "a room moved without a cause"


def check(history: History, *, settle: float = 6.0) -> list[Violation]:
    """Everything that is wrong with a history. A cause explains moves until `settle` seconds after
    its end: a lease, a grace and a client's next try."""
    return [
        *overlaps(history),
        *accepted_twice(history),
        *epochs_fall(history),
        *moves_without_cause(history, settle),
    ]


def overlaps(history: History) -> list[Violation]:
    """The times in which two shards were certainly live for one room."""
    found = []
    for room, stays in _by_room(history.stays).items():
        spans = sorted((stay.live, index) for index, stay in enumerate(stays) if stay.live)
        for place, ((begin, end), index) in enumerate(spans):
            for (other_begin, _), other in spans[place + 1 :]:
                if other_begin > end:
                    break
                found += _overlap(room, stays[index], stays[other], (begin, end))
        for moment in (stay for stay in stays if not stay.live):
            for (begin, end), index in spans:
                if begin <= moment.asked and moment.accepted <= end:
                    found += _overlap(room, stays[index], moment, (begin, end))
    return found


def _overlap(room: str, one: Stay, other: Stay, span: tuple[float, float]) -> list[Violation]:
    if one.shard == other.shard:
        return []
    text = (
        f"{room}: {one.shard} ({one.join_id}, {span[0]:.3f} to {span[1]:.3f}) and "
        f"{other.shard} ({other.join_id}, accepted at {other.accepted:.3f})"
    )
    return [Violation(OVERLAP, text)]


def accepted_twice(history: History) -> list[Violation]:
    """Joins that made two participants, by their own client or by what others were told."""
    sids: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    accepts: collections.Counter[tuple[str, str]] = collections.Counter()
    for stay in history.stays:
        sids[stay.room, stay.join_id].add(stay.sid)
        accepts[stay.room, stay.join_id] += not stay.resumed
    for room, join_id, sid in history.presences:
        sids[room, join_id].add(sid)
    found = [
        Violation(TWICE, f"{room}: {join_id} is {sorted(of_join)}")
        for (room, join_id), of_join in sids.items()
        if len(of_join) > 1
    ]
    found += [
        Violation(TWICE, f"{room}: {join_id} was answered {count} times")
        for (room, join_id), count in accepts.items()
        if count > 1
    ]
    return found


def epochs_fall(history: History) -> list[Violation]:
    """A later look showed a smaller epoch, or another shard under the same one."""
    found = []
    for room, sightings in _by_room(history.sightings).items():
        owners: dict[int, str] = {}
        # Only looks that ended before the next began have an order.
        ended = sorted(sightings, key=lambda seen: seen.told)
        ends = [seen.told for seen in ended]
        highest = list(itertools.accumulate((seen.epoch for seen in ended), max))
        for seen in sightings:
            before = bisect.bisect_left(ends, seen.asked)
            if before and highest[before - 1] > seen.epoch:
                text = f"{room}: {seen.epoch} on {seen.shard} after {highest[before - 1]}"
                found.append(Violation(EPOCH, text))
            owner = owners.setdefault(seen.epoch, seen.shard)
            if owner != seen.shard:
                text = f"{room}: {seen.epoch} on {owner} and on {seen.shard}"
                found.append(Violation(EPOCH, text))
    return found


def moves_without_cause(history: History, settle: float) -> list[Violation]:
    """A room that was not idle came to another shard, and nothing had happened to the old one."""
    found = []
    for room, stays in _by_room(history.stays).items():
        ordered = sorted(stays, key=lambda stay: stay.accepted)
        for last, stay in itertools.pairwise(ordered):
            moved = stay.accepted
            if last.shard == stay.shard or not _was_held(ordered, last.shard, moved):
                continue
            if not any(cause.explains(last.shard, moved, settle) for cause in history.causes):
                text = f"{room}: from {last.shard} to {stay.shard} at {moved:.3f}"
                found.append(Violation(UNCAUSED, text))
    return found


# Who lost the connection so lately is still a participant for its shard: it may resume.
_RESUMABLE = 10.0


def _was_held(stays: list[Stay], shard: str, moment: float) -> bool:
    return any(
        stay.shard == shard
        and stay.accepted < moment
        and stay.left >= (moment if stay.polite else moment - _RESUMABLE)
        for stay in stays
    )


@dataclass
class Recovery:
    """What one kind of trouble did to the rooms that had somebody on a shard that it struck."""

    what: str
    events: int = 0
    # Seconds until somebody was accepted again, where a connection broke.
    times: list[float] = field(default_factory=list)
    # Rooms in which no connection broke.
    untouched: int = 0
    # Rooms to which nobody came back.
    lost: list[str] = field(default_factory=list)


def recoveries(history: History) -> list[Recovery]:
    """What each kind of cause did."""
    by_what: dict[str, Recovery] = {}
    rooms = _by_room(history.stays)
    for cause in history.causes:
        recovery = by_what.setdefault(cause.what, Recovery(cause.what))
        recovery.events += 1
        for room, stays in rooms.items():
            _recover(recovery, history.causes, cause, room, stays)
    return list(by_what.values())


def _recover(
    recovery: Recovery, causes: list[Cause], cause: Cause, room: str, stays: list[Stay]
) -> None:
    struck = [
        stay
        for stay in stays
        if stay.accepted <= cause.since < stay.left and cause.concerns(stay.shard)
    ]
    broken = [stay.left for stay in struck if not stay.polite and _blamed(causes, stay) is cause]
    if not broken:
        recovery.untouched += bool(struck)
        return
    back = [stay.accepted for stay in stays if stay.accepted > min(broken)]
    if back:
        recovery.times.append(min(back) - cause.since)
    else:
        recovery.lost.append(room)


def _blamed(causes: list[Cause], stay: Stay) -> Cause | None:
    """The last thing that was done to a connection's shard before it broke."""
    before = [cause for cause in causes if cause.explains(stay.shard, stay.left)]
    return max(before, key=lambda cause: cause.since, default=None)


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


def _by_room(entries: list) -> dict[str, list]:
    rooms: dict[str, list] = collections.defaultdict(list)
    for entry in entries:
        rooms[entry.room].append(entry)
    return rooms
