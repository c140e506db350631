"""What was measured: values of each round, their medians, ratios and flaws."""

import json
import os
import platform
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One measured quantity of one proxy, a value for each round."""

    subject: str
    scenario: str
    unit: str
    values: list[float] = field(default_factory=list)
    # Why a value is not to be trusted; empty: it is.
    flaws: list[str] = field(default_factory=list)
    # What others on the machine used meanwhile, processors.
    others: list[float] = field(default_factory=list)

    def trusted(self) -> list[float]:
        pairs = zip(self.values, self.flaws, strict=True)
        return [value for value, flaw in pairs if not flaw]

    def valid(self) -> bool:
        """Most of its values are."""
        return 2 * len(self.trusted()) > len(self.values)

    def median(self) -> float:
        return statistics.median(self.trusted() or self.values)

    def to_json(self) -> dict:
        return {
            "subject": self.subject,
            "scenario": self.scenario,
            "unit": self.unit,
            "values": [round(value, 4) for value in self.values],
            "median": round(self.median(), 4),
            "valid": self.valid(),
            "flaws": sorted(set(filter(None, self.flaws))),
            "others_cpu": round(statistics.median(self.others), 2) if self.others else None,
        }


class Rows:
    """All rows; `base` is the subject that the others are compared with."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._rows: dict[tuple[str, str], Row] = {}
        self._absent: dict[str, str] = {}

    def keep(
        self, subject: str, scenario: str, unit: str, value: float, flaw: str, others: float
    ) -> None:
        """One value. `flaw`: why it does not count; `others`: see `Row`."""
        fresh = Row(subject, scenario, unit)
        row = self._rows.setdefault((subject, scenario), fresh)
        row.values.append(value)
        row.flaws.append(flaw)
        row.others.append(others)

    def absent(self, subject: str, reason: str) -> None:
        """A subject that cannot be measured here: it is in all tables, without values."""
        self._absent[subject] = reason

    def median(self, subject: str, scenario: str) -> float | None:
        """Of what was measured so far, if it counts."""
        row = self._rows.get((subject, scenario))
        return row.median() if row and row.valid() else None

    def ratios(self) -> dict[str, float]:
        """Each subject to the base: the median of the ratios of the rounds that count for both."""
        found = {}
        for (subject, scenario), row in self._rows.items():
            base = self._rows.get((self._base, scenario))
            if subject == self._base or base is None:
                continue
            ratios = [
                value / other
                for value, other, flaw, flaw_too in zip(
                    row.values, base.values, row.flaws, base.flaws, strict=True
                )
                if other > 0 and not flaw and not flaw_too
            ]
            if ratios:
                found[f"{scenario} {subject}/{self._base}"] = round(statistics.median(ratios), 3)
        return found

    def table(self) -> str:
        """Medians, and ratios to the base in brackets; `!` stands behind what does not count."""
        names = list(dict.fromkeys([*(name for name, _ in self._rows), *self._absent]))
        ratios = self.ratios()
        lines = [f"{'':26} {'':20}" + "".join(f"{name:>20}" for name in names)]
        for scenario in dict.fromkeys(scenario for _, scenario in self._rows):
            rows = [self._rows.get((name, scenario)) for name in names]
            unit = next(row.unit for row in rows if row)
            cells = []
            for row in rows:
                if row is None:
                    cells.append(f"{'absent':>12}" + " " * 7)
                    continue
                ratio = ratios.get(f"{scenario} {row.subject}/{self._base}")
                told = _number(row.median()) + ("" if row.valid() else "!")
                cells.append(f"{told:>12}" + (f" ({ratio:.2f})" if ratio is not None else " " * 7))
            lines.append(f"{scenario:26} {unit:20}" + "".join(f"{c:>20}" for c in cells))
        return "\n".join(lines)

    def markdown(self) -> str:
        """The table as documents have it."""
        names = list(dict.fromkeys(name for name, _ in self._rows))
        ratios = self.ratios()
        lines = [f"| | unit | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        for scenario in dict.fromkeys(scenario for _, scenario in self._rows):
            cells = []
            for name in names:
                row = self._rows[name, scenario]
                ratio = ratios.get(f"{scenario} {name}/{self._base}")
                told = _number(row.median()) + ("" if row.valid() else " (invalid)")
                cells.append(told + (f" ({ratio:.2f})" if ratio is not None else ""))
            unit = self._rows[names[0], scenario].unit
            lines.append(f"| `{scenario}` | {unit} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def flaws(self) -> list[str]:
        """What does not count, and why."""
        return [
            f"{row.subject}, {row.scenario}: {len(row.values) - len(row.trusted())} of "
            f"{len(row.values)} values do not count: {flaw}"
            for row in self._rows.values()
            for flaw in sorted(set(filter(None, row.flaws)))
        ]

    def to_json(self) -> list[dict]:
        """All rows, as they were first measured; those of absent subjects have no values."""
        measured = [row.to_json() for row in self._rows.values()]
        units = {row.scenario: row.unit for row in self._rows.values()}
        return measured + [
            {
                "subject": subject,
                "scenario": scenario,
                "unit": unit,
                "values": [],
                "median": None,
                "valid": False,
                "flaws": [f"absent: {reason}"],
                "others_cpu": None,
            }
            for subject, reason in self._absent.items()
            for scenario, unit in units.items()
        ]


def write(path: Path, result: dict) -> None:
    """Writes the result of a bench as JSON, and says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"written to {path}")


def mark(flaw: str) -> str:
    """What stands behind a value that does not count."""
    return f" (invalid: {flaw})" if flaw else ""


def _number(value: float) -> str:
    if value != 0 and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:,.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def machine() -> dict:
    """Where it was measured."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
    }
