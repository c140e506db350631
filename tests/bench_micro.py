#!/usr/bin/env python3
"""The benches of single crates: placement, hints for a million rooms, claims in Redis.

Runs `cargo bench` for each, shows what they print and writes it to target/bench/micro.json. Run it with
`make bench`.
"""

import re
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE / "e2e")]

from benches.rows import Rows, machine, write  # noqa: E402

ROOT = _HERE.parent
OUTPUT = ROOT / "target/bench/micro.json"
BENCHES = (("affinity", "placement"), ("gateway", "hints"), ("directory", "claims"))
# What criterion prints: the middle of three estimates.
_CRITERION = re.compile(r"^(.+?)\s+time:\s+\[\S+ \S+ (\S+) (\S+) \S+ \S+\]$", re.MULTILINE)
_NS = {"ps": 1e-3, "ns": 1.0, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}
_HINTS = (
    (re.compile(r"(\d+) bytes a room"), "memory of a room", "bytes"),
    (re.compile(r"(\d+) ns a lookup"), "lookup", "ns"),
    (re.compile(r"(\d+) ns to make a key"), "make a key and learn it", "ns"),
)
# Round, claims/s, SET/s, ratio.
_CLAIMS = re.compile(r"^ *\d+ +(\d+) +(\d+) +\d\.\d+$", re.MULTILINE)


def run(crate: str, bench: str) -> tuple[str, str]:
    """What the bench prints, which is shown as it comes; and why it does not count, if it does not."""
    command = ["cargo", "bench", "--locked", "-p", crate, "--bench", bench]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    flaw = "the bench failed: a limit was missed" if running.returncode else ""
    # Criterion breaks a line behind a long name.
    return re.sub(r"\n\s+time:", " time:", "".join(lines)), flaw


def keep(rows: Rows, bench: str, text: str, flaw: str) -> None:
    """The figures in what a bench has printed."""
    for name, value, unit in _CRITERION.findall(text):
        rows.keep("anteroom", name.strip(), "ns", float(value) * _NS[unit], flaw, 0.0)
    if bench == "hints":
        for pattern, scenario, unit in _HINTS:
            found = pattern.search(text)
            if found:
                rows.keep("anteroom", f"hints: {scenario}", unit, float(found.group(1)), flaw, 0.0)
    if bench == "claims":
        for claims, sets in _CLAIMS.findall(text):
            rows.keep("anteroom", "claims in Redis", "1/s", float(claims), flaw, 0.0)
            rows.keep("SET", "claims in Redis", "1/s", float(sets), flaw, 0.0)


def main() -> int:
    """Runs all and writes what they found."""
    rows = Rows("SET")
    where = machine()
    flaws = {}
    for crate, bench in BENCHES:
        before = len(rows.to_json())
        text, flaw = run(crate, bench)
        keep(rows, bench, text, flaw)
        if flaw:
            flaws[bench] = flaw
        if len(rows.to_json()) == before:
            raise SystemExit(f"the bench {bench} printed no figure that is known here")
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    versions = {"rustc": rustc.stdout.strip()}
    result = {"machine": where, "versions": versions}
    write(OUTPUT, {**result, "rows": rows.to_json(), "ratios": rows.ratios()})
    for bench, flaw in flaws.items():
        print(f"{bench}: {flaw}")
    return 1 if flaws else 0


if __name__ == "__main__":
    raise SystemExit(main())
