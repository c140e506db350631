"""Metrics as a program shows them, as the reference page describes them, and as queries name them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from .program import ROOT

PAGE = ROOT / "docs/metrics.md"
DASHBOARD = ROOT / "deploy/grafana/anteroom.json"
PROMETHEUS = ROOT / "deploy/prometheus"

_WORDS = {"and", "or", "unless", "bool", "offset"}
_GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


@dataclass
class Described:
    """A metric of the reference page. A label without values has others' names."""

    name: str
    kind: str
    labels: dict[str, list[str] | None]


@dataclass
class Shown:
    """A metric in a scrape."""

    name: str
    kind: str
    help: str
    series: list[dict[str, str]]


def page() -> dict[str, dict[str, Described]]:
    """The reference page: metrics by section and name."""
    sections: dict[str, dict[str, Described]] = {}
    section: dict[str, Described] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = sections.setdefault(line[3:], {})
        elif line.startswith("| `"):
            name, kind, _, labels, _ = (cell.strip() for cell in line.strip("|").split(" |", 4))
            section[name.strip("` ")] = Described(name.strip("` "), kind, _labels(labels))
    return sections


def _labels(cell: str) -> dict[str, list[str] | None]:
    found: dict[str, list[str] | None] = {}
    for part in filter(None, cell.split("; ")):
        name, _, values = part.partition(": ")
        is_open = name.endswith("*")
        found[name.strip("`*")] = None if is_open else values.split(", ")
    return found


def scraped(text: str) -> dict[str, Shown]:
    """A scrape: metrics by name, histograms under the name of the whole."""
    found: dict[str, Shown] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            found.setdefault(name, Shown(name, "", "", [])).help = help_text
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            found.setdefault(name, Shown(name, "", "", [])).kind = kind
        elif line:
            match = re.fullmatch(rf"({_NAME})(?:\{{(.*)\}})? (\S+)", line)
            assert match, f"no line of Prometheus' text format: {line!r}"
            name = match.group(1)
            float(match.group(3))
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
            whole = re.sub(r"_(bucket|sum|count)$", "", name)
            shown = found.get(name) or found.get(whole)
            assert shown is not None, f"{name} has neither type nor help"
            labels.pop("le", None)
            shown.series.append(labels)
    return found


def series_names(text: str) -> set[str]:
    """All names that a query can use."""
    return {
        re.split(r"[{ ]", line, maxsplit=1)[0]
        for line in text.splitlines()
        if line and line[0] != "#"
    }


def queries() -> list[tuple[str, str]]:
    """Every query of dashboard, alerts and recording rules, with where it stands."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            found.append((f"dashboard: {panel['title']}", target["expr"]))
    for rule in rules():
        found.append((rule.get("alert") or rule["record"], rule["expr"]))
    return found


def rules() -> list[dict]:
    """All rules."""
    files = [PROMETHEUS / "alerts.yml", PROMETHEUS / "recording.yml"]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def names_in(query: str) -> set[str]:
    """The metrics that a PromQL query names."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", re.sub(r'"[^"]*"', '""', query))
    bare = re.sub(_GROUPING, "", bare)
    names = re.findall(rf"(?<![\w:.])({_NAME})\b(?!\s*\()", bare)
    return {name for name in names if name not in _WORDS}


def selectors_in(query: str) -> list[tuple[str, str, list[str]]]:
    """What a query wants of labels: metric, label and the values it names one by one."""
    found = []
    for name, inside in re.findall(rf"({_NAME})\{{([^}}]*)\}}", query):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', inside):
            if "$" not in values:
                found.append((name, label, values.split("|")))
    return found


def folder_of_rules() -> Path:
    """Where Prometheus' files are."""
    return PROMETHEUS
