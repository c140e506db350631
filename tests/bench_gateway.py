#!/usr/bin/env python3
"""What a connection costs in HAProxy, in nginx and in our gateway.

All three stand in front of the same three origins, with one proxy thread each, and are measured in
turns: A B C A B C. The affinity key is the room in the query. HAProxy is configured as operators of
several Jitsi shards have it (`balance url_param`, a stick table, a peers section), nginx with
`hash $arg_room consistent`. The load and the origins are the Rust program `bench`, which checks every
answer; CPU is that of the proxy's processes, user and system. Only ratios of one run count.

Prints a table and writes target/bench/gateway.json. Run it with `make bench-gateway`.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "e2e")]

from harness.fleet import common  # noqa: E402
from harness.ports import free_port  # noqa: E402

from benches.processes import BENCH, ROOT, Cpu, Load, load, memory_kib, settled_kib  # noqa: E402
from benches.proxies import FILES, Gateway, Haproxy, Nginx, Subject, sockets_max  # noqa: E402
from benches.rows import Rows, machine, mark, write  # noqa: E402

GATEWAY = Path(os.environ.get("ANTEROOM", ROOT / "target/release/anteroom"))
OUTPUT = ROOT / "target/bench/gateway.json"
ORIGINS = ("s1", "s2", "s3")
SCENARIOS = ("http", "upgrade", "message", "latency", "idle", "reload")
WAYS = ("plain", "tls")
# The one that all others are compared with.
BASE = "haproxy"
# A generator or origin above this share of its threads is what was measured, not the proxy.
_SATURATED = 0.95
# A closed loop in which the proxy worked less than this share of the time says little.
_BUSY = 0.4
# Our own lateness, p99, above which a latency is not the proxy's, µs.
_LATE_US = 1_000
# A latency of a machine that works more than this share of the time is the machine's.
_CROWDED = 0.85


class Bench:
    """All proxies, the origins, and what was measured."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.rows = Rows(BASE)
        self._machine = machine()
        self._begun = time.monotonic()
        subprocess.run([BENCH, "cert", "--folder", folder], check=True)
        self.origins = {name: f"127.0.0.1:{free_port()}" for name in ORIGINS}
        self.subjects: list[Subject] = [
            Haproxy("haproxy", folder, self.origins),
            Nginx("nginx", folder, self.origins),
            Gateway("anteroom", folder, self.origins, GATEWAY),
        ]
        for name, path in options.also:
            self.subjects.append(Gateway(name, folder, self.origins, Path(path).resolve()))
        self.origin = self._start_origin()

    def _start_origin(self) -> Load:
        gateways = [one for one in self.subjects if isinstance(one, Gateway)]
        directories = ",".join(f"http://{gateway.internal}" for gateway in gateways)
        secret = common(None)["cluster"]["secret"]
        arguments = ["--listen", ",".join(self.origins.values()), "--directory", directories]
        origin = Load("origin", ["origin", *arguments, "--secret", secret], self.folder)
        origin.line("listening")
        return origin

    def close(self) -> None:
        for subject in self.subjects:
            subject.stop()
        self.origin.stop()

    def run(self) -> None:
        """All scenarios that are asked for."""
        for subject in self.subjects:
            subject.start()
        for name in SCENARIOS:
            if name in self.options.only:
                getattr(self, f"measure_{name}")()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begun:4.0f} s] {text}", flush=True)

    def turns(self, title: str, one: Callable[[Subject, int], str], rounds: int) -> None:
        """All proxies in turns, again and again."""
        for number in range(rounds):
            told = [f"{subject.name} {one(subject, number)}" for subject in self.subjects]
            self.tell(f"{title}, round {number + 1}/{rounds}: {', '.join(told)}")

    def _flaw(self, said: dict, proxy: float | None, origin: float) -> str:
        """Why the result does not count; empty: it does."""
        if said.get("errors"):
            return f"{said['errors']} errors, the first: {said['first_error']}"
        if said["own_cpu"] > _SATURATED * said["threads"]:
            return f"the generator was at its limit ({said['own_cpu']:.2f} processors)"
        if origin > _SATURATED:
            return f"the origins were at their limit ({origin:.2f} processors)"
        if proxy is not None and proxy < _BUSY:
            return f"the proxy worked only {proxy:.0%} of the time: something else was the limit"
        return ""

    @staticmethod
    def _crowded(all_: float) -> str:
        """Why a latency does not count: whoever wants to run has to wait."""
        cores = os.cpu_count() or 1
        if all_ > _CROWDED * cores:
            return f"the machine was at its limit ({all_:.2f} of {cores} processors)"
        return ""

    def _closed_loop(self, subject: Subject, way: str, *arguments: object) -> tuple:
        """Runs a load as fast as it goes: what it said, the proxy's CPU seconds, flaw, others."""
        with load(self.folder, *arguments, *subject.target(way)) as one:
            one.line("ready")
            proxy, origin = Cpu(subject.pid), Cpu(self.origin.process.pid)
            one.go()
            said = one.line("result")
            spent, share, hosts = proxy.seconds(), proxy.share(), origin.share()
            others = max(0.0, proxy.all() - share - hosts - said["own_cpu"])
        return said, spent, self._flaw(said, share, hosts), others

    def measure_http(self) -> None:
        """Keep-alive requests."""
        for way in self.options.ways:

            def one(subject: Subject, _round: int, way: str = way) -> str:
                load_ = ["http", "--connections", 64, "--seconds", self.options.seconds]
                load_ += ["--waste-us", self.options.waste_us]
                said, spent, flaw, others = self._closed_loop(subject, way, *load_)
                done = max(1, said["done"])
                us = spent / done * 1e6
                self.rows.keep(subject.name, f"http-cpu-{way}", "µs CPU/request", us, flaw, others)
                rate = done / max(spent, 1e-9)
                unit = "requests/CPU-second"
                self.rows.keep(subject.name, f"http-rate-{way}", unit, rate, flaw, others)
                return f"{us:.1f} µs{mark(flaw)}"

            self.turns(f"requests, {way}", one, self.options.rounds)

    def measure_upgrade(self) -> None:
        """Opening WebSockets, each by a connection of its own."""
        for way in self.options.ways:

            def one(subject: Subject, _round: int, way: str = way) -> str:
                count = self.options.upgrades // (2 if way == "tls" else 1)
                said, spent, flaw, others = self._closed_loop(
                    subject, way, "upgrade", "--count", count
                )
                done = max(1, said["done"])
                us, rate = spent / done * 1e6, done / said["seconds"]
                self.rows.keep(
                    subject.name, f"upgrade-cpu-{way}", "µs CPU/upgrade", us, flaw, others
                )
                self.rows.keep(
                    subject.name, f"upgrade-rate-{way}", "upgrades/s", rate, flaw, others
                )
                self._drained(subject)
                return f"{us:.0f} µs{mark(flaw)}"

            self.turns(f"WebSocket upgrades, {way}", one, self.options.rounds)

    def _drained(self, subject: Subject) -> None:
        """Until the proxy has closed what the load has left behind: that is not the next one's."""
        for _ in range(50):
            cpu = Cpu(subject.pid)
            time.sleep(0.1)
            if cpu.share() < 0.05:
                return

    def measure_message(self) -> None:
        """WebSocket messages."""
        for way in self.options.ways:
            for size in (100, 2048):

                def one(subject: Subject, _round: int, way: str = way, size: int = size) -> str:
                    load_ = ("--connections", 50, "--bytes", size)
                    length = ("--seconds", self.options.seconds)
                    said, spent, flaw, others = self._closed_loop(
                        subject, way, "messages", *load_, *length
                    )
                    # An echo is two messages.
                    us = spent / max(1, 2 * said["done"]) * 1e6
                    name = f"message-{size}-{way}"
                    self.rows.keep(subject.name, name, "µs CPU/message", us, flaw, others)
                    return f"{us:.2f} µs{mark(flaw)}"

                self.turns(f"messages of {size} bytes, {way}", one, self.options.rounds)

    def measure_latency(self) -> None:
        """What a proxy adds to a request at an easy rate."""
        rate, seconds = self.options.rate, self.options.latency_seconds
        arguments = ("latency", "--rate", rate, "--seconds", seconds)

        def ask(target: list[object]) -> dict:
            with load(self.folder, *arguments, *target) as one:
                one.line("ready")
                origin = Cpu(self.origin.process.pid)
                one.go()
                said = one.line("result")
                flaw = self._flaw({**said, "threads": 2}, None, origin.share())
                said["flaw"] = flaw or self._crowded(origin.all())
            if said["late_p99_us"] > _LATE_US:
                said["flaw"] = f"the generator was late: p99 {said['late_p99_us']} µs"
            return said

        for way in self.options.ways:
            for number in range(self.options.rounds):
                # An origin speaks no TLS: what that adds is the proxy's, too.
                direct = ask(["--to", next(iter(self.origins.values()))])
                told = [f"direct {direct['p99_us']} µs{mark(direct['flaw'])}"]
                for subject in self.subjects:
                    said = ask(subject.target(way))
                    flaw = said["flaw"] or direct["flaw"]
                    for name, key in (("p99", "p99_us"), ("p50", "p50_us")):
                        added = said[key] - direct[key]
                        scenario = f"latency-{name}-added-{way}"
                        self.rows.keep(subject.name, scenario, "µs added", added, flaw, 0.0)
                    told.append(f"{subject.name} {said['p99_us']} µs{mark(flaw)}")
                title = f"p99 at {rate} requests/s, {way}"
                self.tell(f"{title}, round {number + 1}/{self.options.rounds}: {', '.join(told)}")

    def measure_idle(self) -> None:
        """Memory of WebSockets at rest, in fresh processes."""
        count = self.options.sockets
        for way in self.options.ways:

            def one(subject: Subject, _round: int, way: str = way) -> str:
                subject.restart()
                before = settled_kib(subject.pid)
                target = subject.target(way)
                with load(self.folder, "idle", "--count", count, *target) as run:
                    run.line("ready")
                    run.go()
                    run.line("opened")
                    opened = settled_kib(subject.pid)
                    run.go()
                    run.line("used")
                    used = settled_kib(subject.pid)
                    run.go()
                    said = run.line("result")
                flaw = self._flaw({**said, "own_cpu": 0}, None, 0)
                told = []
                for name, now in (("idle", opened), ("idle-used", used)):
                    kib = (now - before) / count
                    unit = f"KiB/WebSocket at {count}"
                    self.rows.keep(subject.name, f"{name}-{way}", unit, kib, flaw, 0.0)
                    told.append(f"{kib:.2f}")
                self._drained(subject)
                return f"{' / '.join(told)} KiB{mark(flaw)}"

            self.turns(f"{count} idle WebSockets, {way}", one, self.options.idle_rounds)

    def measure_reload(self) -> None:
        """What is lost while the configuration is read again and again."""
        reloads = self.options.reloads
        way = "plain"

        def one(subject: Subject, _round: int) -> str:
            # Not the memory of what was measured before.
            subject.restart()
            with load(self.folder, "hold", *subject.target(way)) as run:
                run.line("ready")
                run.go()
                begun = time.monotonic()
                for number in range(reloads):
                    # Twenty a second at most: everything else should happen in between.
                    time.sleep(max(0.0, begun + number * 0.05 - time.monotonic()))
                    subject.reload()
                time.sleep(0.5)
                memory = memory_kib(subject.pid) / 1024
                run.go()
                said = run.line("result")
            late = said["own_cpu"] > _SATURATED
            flaw = f"the generator was at its limit ({said['own_cpu']:.2f})" if late else ""
            losses = {
                "reload-lost": said["lost"],
                "reload-failed-requests": said["failed"],
                "reload-retried-requests": said["retried"],
                "reload-failed-joins": said["failed_joins"],
            }
            for scenario, count in losses.items():
                unit = f"in {reloads} reloads"
                self.rows.keep(subject.name, scenario, unit, count, flaw, 0.0)
            self.rows.keep(subject.name, "reload-memory", "MiB afterwards", memory, flaw, 0.0)
            error = f" ({said['first_error']})" if said["first_error"] else ""
            return (
                f"{said['lost']} of {said['sockets']} sockets lost, {said['failed']} of "
                f"{said['requests']} requests failed, {said['retried']} sent again, "
                f"{said['failed_joins']} of {said['joins']} joins failed, "
                f"{memory:.0f} MiB{error}{mark(flaw)}"
            )

        self.turns(f"{reloads} reloads", one, 1)

    def to_json(self) -> dict:
        options = {
            k: v for k, v in vars(self.options).items() if k not in ("also", "output", "markdown")
        }
        return {
            "machine": self._machine,
            "versions": {subject.name: subject.version() for subject in self.subjects},
            "parameters": options,
            "seconds": round(time.monotonic() - self._begun),
            "rows": self.rows.to_json(),
            "ratios": self.rows.ratios(),
        }


def _some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return names

    return parse


def _also(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError("write NAME=PATH")
    return name, path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--rounds", type=int, help="rounds of what is alternated (3)")
    parser.add_argument("--seconds", type=float, help="of each closed loop (2)")
    parser.add_argument("--sockets", type=int, help="idle WebSockets (9000)")
    parser.add_argument("--reloads", type=int, help="of each proxy (100)")
    parser.add_argument("--rate", type=int, default=1_000, help="requests/s for the latency")
    parser.add_argument(
        "--waste-us",
        type=int,
        default=0,
        help="processor time that the generator wastes on each request: its rows become invalid",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as docs have it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write the result")
    parser.add_argument("--ways", type=_some_of(WAYS), default=list(WAYS))
    parser.add_argument(
        "--only",
        type=_some_of(SCENARIOS),
        default=list(SCENARIOS),
        help=f"some of {','.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--also",
        type=_also,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another build of our gateway in the same run",
    )
    options = parser.parse_args()
    quick = {"rounds": 1, "seconds": 0.3, "sockets": 300, "reloads": 3}
    usual = {"rounds": 3, "seconds": 2.0, "sockets": 9_000, "reloads": 100}
    for name, value in (quick if options.quick else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.upgrades = 300 if options.quick else 3_000
    options.latency_seconds = 0.5 if options.quick else 4.0
    options.idle_rounds = 1
    return options


def raise_file_limit(sockets: int) -> int:
    """As many files as are allowed, for everything started from here. How many sockets fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    fit = sockets_max()
    if fit < sockets:
        print(
            f"a process may open {wanted} files: {fit} proxied WebSockets fit, not {sockets} "
            "(raise the hard limit, ulimit -Hn)"
        )
    return min(fit, sockets)


def _stop(*_: object) -> None:
    raise SystemExit("ended by SIGTERM")


def main() -> int:
    """Measures, prints, writes."""
    # A proxy's workers outlive their master if nobody ends them.
    signal.signal(signal.SIGTERM, _stop)
    options = parse()
    options.sockets = raise_file_limit(options.sockets)
    for binary in (GATEWAY, BENCH):
        if not binary.exists():
            raise SystemExit(f"{binary} is missing: run `make bench-gateway`")
    with tempfile.TemporaryDirectory(prefix="anteroom-bench-") as folder:
        bench = Bench(options, Path(folder))
        try:
            bench.run()
            table = bench.rows.markdown() if options.markdown else bench.rows.table()
            print(f"\n{table}\n")
            print("\n".join(bench.rows.flaws()))
            write(options.output, bench.to_json())
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
