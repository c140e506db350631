"""Our media node beside Janus, a plain server on pion, and LiveKit's server, in the same run; and the
machine's own limit.

The server has one processor, its load another. Every load is the Rust program `bench sfu`: the same
sockets, the same counting for all servers; one of 20 participants decrypts, which checks that what
comes was sent, and times it. Servers take turns, and each turn has a fresh process. A row does not count where the
load could not keep up, or where less than 99.9 % of the packets came.

Prints a table and writes target/bench/sfu.json. Run it with `make bench-sfu`.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "e2e")]

from benches.processes import BENCH, ROOT, Cpu, Load  # noqa: E402
from benches.rows import Rows, machine, mark, write  # noqa: E402
from benches.sfu_servers import FILES, LOAD_CPU, SERVER_CPU, SERVERS, Server  # noqa: E402

OUTPUT = ROOT / "target/bench/sfu.json"
BASE = "janus"
LIMIT = "limit"
# What is measured of it, and how the program calls that.
_LIMITS = {
    "GCM, GSO of 8": "gso_us",
    "GCM, GSO of 8, a frame each 33 ms": "frames_us",
    "GCM, one by one": "sendto_us",
}
# Receivers of these frames.
_CROWD = 500
# The thread of the load that writes frames.
CAMERAS = "cameras"
# A load above this share of its processor is what was measured, not the server.
_SATURATED = 0.95
# The same if its frames were written later than this, p99, µs.
_LATE_US = 5_000
# More than this, in processors, used by others: they had it from the server or from its load.
_OTHERS = 0.25
# Turns that are given to a server whose load or machine was not up to it.
_TRIES = 2
# Delivered, at least, for a server to have done its work.
_DELIVERED = 0.999
# For the largest M also: what comes later, p99, is no conversation, µs.
_DELAY_US = 100_000
# The largest M is searched until it is known to this share.
_CLOSE = 0.05


@dataclass(frozen=True)
class Scenario:
    """Who sends, who only receives, and how much."""

    rooms: int
    publishers: int
    watchers: int
    # Of a frame; there are 30 frames a second.
    packets: int
    # Turns that it is worth, of `--rounds`.
    rounds: int = 3

    def arguments(self) -> list[object]:
        return [
            *("--rooms", self.rooms),
            *("--publishers", self.publishers),
            *("--watchers", self.watchers),
            *("--packets", self.packets),
        ]


SCENARIOS = {
    "1x60": Scenario(1, 1, 60, 8),
    "10x10": Scenario(1, 10, 0, 4),
    "3x8": Scenario(3, 8, 0, 4),
    "1x500": Scenario(1, 1, 500, 8, rounds=2),
}
LARGEST = "largest"
QUICK = {"1x10": Scenario(1, 1, 10, 8, rounds=1), "2x3": Scenario(2, 3, 0, 4, rounds=1)}


@dataclass(frozen=True)
class Turn:
    """What came of one server in one scenario."""

    said: dict
    # CPU seconds of the server.
    spent: float
    # What others on the machine used meanwhile, processors.
    others: float
    # Seconds until everybody heard everybody.
    joined: float
    # Memory of each participant.
    kib: float

    @property
    def us(self) -> float:
        return self.spent / max(1, self.said["delivered"]) * 1e6

    @property
    def delivered(self) -> float:
        return self.said["delivered"] / self.said["expected"]

    @property
    def delay_ms(self) -> float:
        return self.said["delay_p99_us"] / 1000

    def disturbed(self) -> str:
        """Why it says nothing about the server; empty: it does."""
        if self.others > _OTHERS:
            return f"others used {self.others:.2f} processors"
        return _flaw_of_load(self.said)

    def flaw(self) -> str:
        """Why its costs do not count; empty: they do."""
        return self.disturbed() or _flaw(self.said)

    def __str__(self) -> str:
        late, again = self.said["late_p99_us"] / 1000, self.said["joined_again"]
        return (
            f"{self.us:.1f} µs, {self.delivered:.2%}, p99 {self.delay_ms:.1f} ms, "
            f"{self.kib:.0f} KiB, joined in {self.joined:.1f} s, load {self.said['own_cpu']:.2f}, "
            f"late {late:.1f} ms, others {self.others:.2f}"
            f"{f', {again} joined again' if again else ''}{mark(self.flaw())}"
        )


class Bench:
    """All servers, and what was measured."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.rows = Rows(BASE)
        self.limits: dict[str, list[float]] = {key: [] for key in _LIMITS.values()}
        self._machine = machine()
        self._begun = time.monotonic()
        self.servers: list[Server] = []
        self.absent: dict[str, str] = {}
        for name in options.servers:
            server = SERVERS[name](folder)
            reason = server.absent()
            if reason:
                self.absent[name] = reason
                self.rows.absent(name, reason)
            else:
                self.servers.append(server)

    def close(self) -> None:
        for server in self.servers:
            server.stop()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begun:4.0f} s] {text}", flush=True)

    def run(self) -> None:
        """All scenarios that are asked for, the limit before, between and after them."""
        for name, reason in self.absent.items():
            self.tell(f"{name} is absent: {reason}")
        self.measure_limit()
        for name in self.options.scenarios:
            if name == LARGEST:
                self.measure_largest()
            else:
                self.measure(name, self.options.known[name])
            self.measure_limit()

    @contextmanager
    def loaded(self, server: Server, *arguments: object) -> Iterator[Load]:
        """A fresh server and its load, with everybody in the rooms."""
        server.start()
        load = Load(
            f"load-{server.name}",
            ["sfu", *server.target(), *arguments, "--patience-ms", self.options.patience_ms],
            self.folder,
            before=LOAD_CPU,
        )
        try:
            yield load
        finally:
            # Everybody leaves: a server that is killed under load says much.
            with suppress(BrokenPipeError):
                load.say("end")
            with suppress(Exception):
                load.process.wait(3)
            load.stop()
            server.stop()

    def once(self, server: Server, load: Load, seconds: float) -> tuple[dict, float, float]:
        """One measurement: what the load says, the server's CPU seconds, others' processors."""
        # Frames must not wait for a crowd that reads on the same processor.
        load.hurry(CAMERAS)
        load.say(f"measure {seconds}")
        load.line("start")
        cpus = [Cpu(pid) for pid in server.pids]
        load.go()
        said = load.line("result")
        spent, share = (sum(map(of, cpus)) for of in (Cpu.seconds, Cpu.share))
        others = max(0.0, cpus[0].all() - share - said["own_cpu"])
        load.go()
        return said, spent, others

    def servers_in(self, name: str) -> list[Server]:
        """Those that are measured in a scenario."""
        return [one for one in self.servers if not one.scenarios or name in one.scenarios]

    def measure(self, name: str, scenario: Scenario) -> None:
        """One scenario, all servers in turns."""
        rounds = min(scenario.rounds, self.options.rounds)
        for number in range(rounds):
            told = []
            for server in self.servers_in(name):
                try:
                    told.append(f"{server.name} {self._turn(server, name, scenario)}")
                except (AssertionError, OSError) as error:
                    self._failed(server, name, _first_line(error))
                    told.append(f"{server.name} FAILED: {_first_line(error)}")
            self.tell(f"{name}, round {number + 1}/{rounds}: {'; '.join(told)}")

    def _turn(self, server: Server, name: str, scenario: Scenario) -> str:
        for last in (*[False] * (self.options.tries - 1), True):
            try:
                turn = self._try(server, scenario)
            except (AssertionError, OSError) as error:
                if last:
                    raise
                self.tell(f"  {server.name} once more: {_first_line(error)}")
                continue
            if not turn.disturbed():
                break
        self._keep(server, name, turn)
        return str(turn)

    def _try(self, server: Server, scenario: Scenario) -> "Turn":
        with self.loaded(server, *scenario.arguments()) as load:
            before = server.memory_kib()
            joined = load.line("ready")["join_seconds"]
            said, spent, others = self.once(server, load, self.options.seconds)
            grown = server.memory_kib() - before
        return Turn(said, spent, others, joined, grown / said["participants"])

    def _keep(self, server: Server, name: str, turn: "Turn") -> None:
        keep, others, flaw = self.rows.keep, turn.others, turn.flaw()
        keep(server.name, f"{name} cpu", "µs CPU/packet", turn.us, flaw, others)
        keep(server.name, f"{name} delay-p99", "ms", turn.delay_ms, flaw, others)
        delivered = 100 * turn.delivered
        keep(server.name, f"{name} delivered", "%", delivered, turn.disturbed(), others)
        keep(server.name, f"{name} memory", "KiB/participant", turn.kib, "", others)
        keep(server.name, f"{name} join", "s for all", turn.joined, "", others)

    def _failed(self, server: Server, name: str, error: str) -> None:
        """The same rows for everybody, whatever happens."""
        flaw = f"failed: {error}"
        units = {
            "cpu": "µs CPU/packet",
            "delay-p99": "ms",
            "delivered": "%",
            "memory": "KiB/participant",
            "join": "s for all",
        }
        for kind, unit in units.items():
            self.rows.keep(server.name, f"{name} {kind}", unit, 0.0, flaw, 0.0)

    def measure_largest(self) -> None:
        """The largest M of 1 x M that each server holds."""
        for server in self.servers_in(LARGEST):
            try:
                largest, flaw = self._largest(server)
            except (AssertionError, OSError) as error:
                largest, flaw = 0, f"failed: {_first_line(error)}"
            self.rows.keep(server.name, LARGEST, "M of 1xM", largest, flaw, 0.0)
            self.tell(f"{LARGEST}: {server.name} holds 1 x {largest}{mark(flaw)}")

    def _largest(self, server: Server) -> tuple[int, str]:
        scenario = Scenario(1, 1, self._guess(server), 8)
        until = time.monotonic() + self.options.search
        held, failed, flaw, count = 0, 0, "", scenario.watchers
        with self.loaded(server, *scenario.arguments()) as load:
            load.line("ready")
            while True:
                said, others = self._step(server, load)
                fits = _holds(said)
                held, failed = (count, failed) if fits else (held, count)
                if not fits:
                    flaw = _flaw_of_load(said)
                    if others > _OTHERS:
                        flaw = f"others used {others:.2f} processors"
                self.tell(
                    f"  {server.name} 1 x {count}: {said['delivered'] / said['expected']:.2%}, "
                    f"p99 {said['delay_p99_us'] / 1000:.1f} ms, load {said['own_cpu']:.2f}"
                )
                if failed and failed - held <= max(2, _CLOSE * held):
                    return held, flaw
                if time.monotonic() > until:
                    more = f"searched for {self.options.search:g} s: below {failed or 'infinity'}"
                    return held, flaw or ("" if failed and held else more)
                count = _next(held, failed)
                load.say(f"watchers {count}")
                load.line("ready")

    def _step(self, server: Server, load: Load) -> tuple[dict, float]:
        """One measurement, and another if others or the load itself were in its way."""
        for _ in range(self.options.tries):
            said, _, others = self.once(server, load, self.options.step)
            if _holds(said) or (others <= _OTHERS and not _flaw_of_load(said)):
                break
        return said, others

    def _guess(self, server: Server) -> int:
        """What a busy processor would do, were every packet as dear as one of 60."""
        us = self.rows.median(server.name, "1x60 cpu") or 40.0
        return max(10, int(0.7 * 1e6 / us / 240))

    def measure_limit(self) -> None:
        """What a processor can encrypt and send at most."""
        arguments = ["limit-sink", "--sockets", _CROWD]
        sink = Load("sink", arguments, self.folder, before=LOAD_CPU)
        try:
            to = ",".join(sink.line("listening")["addresses"])
            arguments = ["limit", "--to", to, "--seconds", self.options.limit_seconds]
            load = Load(LIMIT, arguments, self.folder, before=SERVER_CPU)
            try:
                said = load.line("result")
                load.go()
                load.process.wait(3)
            finally:
                load.stop()
            sink.go()
            received = sink.line("result")["received"] / said["sent"]
        finally:
            sink.stop()
        for key, values in self.limits.items():
            values.append(said[key])
        self.tell(
            f"limit: {said['gso_us']:.2f} µs/packet encrypted and sent by eights, "
            f"{said['frames_us']:.2f} as frames to {_CROWD}, {said['sendto_us']:.2f} one by one "
            f"({received:.1%} received)"
        )

    def ratios(self) -> dict[str, float]:
        """To Janus, and to the machine's limit: how often its cost a packet costs."""
        found = self.rows.ratios()
        limit, frames = (_median(self.limits[key]) for key in ("gso_us", "frames_us"))
        for server in self.servers:
            for name in self.options.scenarios:
                us = self.rows.median(server.name, f"{name} cpu")
                if us and limit:
                    found[f"{name} cpu {server.name}/{LIMIT}"] = round(us / limit, 2)
                    found[f"{name} cpu {server.name}/{LIMIT} of frames"] = round(us / frames, 2)
        return found

    def to_json(self) -> dict:
        hidden = ("known", "output")
        return {
            "machine": self._machine,
            "versions": {server.name: server.version() for server in self.servers},
            "absent": self.absent,
            "parameters": {k: v for k, v in vars(self.options).items() if k not in hidden},
            "seconds": round(time.monotonic() - self._begun),
            "rows": self.rows.to_json()
            + [
                {
                    "subject": LIMIT,
                    "scenario": name,
                    "unit": "µs CPU/packet",
                    "values": [round(value, 4) for value in self.limits[key]],
                    "median": round(_median(self.limits[key]), 4),
                    "valid": True,
                    "flaws": [],
                    "others_cpu": None,
                }
                for name, key in _LIMITS.items()
            ],
            "ratios": self.ratios(),
        }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _flaw_of_load(said: dict) -> str:
    """Why the load is to blame; empty: it is not."""
    if said["own_cpu"] >= _SATURATED:
        return f"the load was at its limit ({said['own_cpu']:.2f} processors)"
    if said["late_p99_us"] > _LATE_US:
        return f"frames were written late (p99 {said['late_p99_us'] / 1000:.1f} ms)"
    if said["sent"] < said["planned"]:
        return f"only {said['sent']} of {said['planned']} packets were written"
    return ""


def _flaw(said: dict) -> str:
    """Why the result does not count; empty: it does."""
    if said["wrong"]:
        return f"{said['wrong']} packets are not what was sent"
    if said["ended"]:
        return f"{said['ended']} participants were thrown out, the first: {said['first_ended']}"
    delivered = said["delivered"] / said["expected"]
    lost = f"only {delivered:.1%} delivered" if delivered < _DELIVERED else ""
    return _flaw_of_load(said) or lost


def _holds(said: dict) -> bool:
    return not _flaw(said) and said["delay_p99_us"] <= _DELAY_US


def _next(held: int, failed: int) -> int:
    """Where to look next: up, down, or in the middle."""
    if not failed:
        return int(held * 1.3) + 1
    return (held + failed) // 2 if held else max(1, int(failed * 0.7))


def _names(known: list[str]):
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return names

    return parse


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    scenarios, servers = [*SCENARIOS, LARGEST], list(SERVERS)
    parser.add_argument("--quick", action="store_true", help="one short turn of something small")
    parser.add_argument("--rounds", type=int, default=3, help="turns of a scenario, at most (3)")
    parser.add_argument("--seconds", type=float, help="of a measurement (5)")
    parser.add_argument("--search", type=float, default=40, help="seconds for each largest M (40)")
    parser.add_argument("--step", type=float, default=3, help="seconds of each step of it (3)")
    parser.add_argument("--servers", type=_names(servers), default=servers, help=",".join(servers))
    parser.add_argument("--scenarios", type=_names(scenarios), help=",".join(scenarios))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    options.known = QUICK if options.quick else SCENARIOS
    if options.scenarios is None or options.quick:
        options.scenarios = list(QUICK) if options.quick else scenarios
    options.seconds = options.seconds or (1.0 if options.quick else 5.0)
    options.tries = 1 if options.quick else _TRIES
    options.limit_seconds = 0.3 if options.quick else 1.5
    # A quick run shows that everything works, on a machine that may be busy.
    options.patience_ms = 3_000 if options.quick else 200
    return options


def raise_file_limit() -> None:
    """As many files as are allowed, for everything started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    """Measures, prints, writes."""
    options = parse()
    if not BENCH.exists():
        raise SystemExit(f"{BENCH} is missing: run `make bench-sfu`")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("a processor for the server and one for its load are needed: two")
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="anteroom-bench-") as folder:
        bench = Bench(options, Path(folder))
        try:
            bench.run()
            result = bench.to_json()
            print(f"\n{bench.rows.table()}\n")
            for name, ratio in result["ratios"].items():
                if name.endswith(f"/{LIMIT}"):
                    print(f"{name}: {ratio}")
            print("\n".join(bench.rows.flaws()))
            write(options.output, result)
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
