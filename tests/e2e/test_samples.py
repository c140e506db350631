"""The sample configurations: each is valid, and each starts."""

import re
from pathlib import Path

import pytest
import yaml
from harness.ports import free_port
from harness.program import ROOT, Program, command
from harness.stage import Stage
from harness.wait import until

SAMPLES = sorted((ROOT / "deploy").glob("*.yaml"))
ROLES = ("gateway", "shard", "node")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples take secrets from the environment: give every one of them a value."""
    for sample in SAMPLES:
        for name in re.findall(r"\$\{(\w+)\}", sample.read_text()):
            monkeypatch.setenv(name, "a-secret-of-at-least-thirty-two-characters")


def test_there_is_a_sample_for_every_role() -> None:
    roles = {role for sample in SAMPLES for role in roles_of(sample)}
    assert roles >= set(ROLES), f"samples are there for {roles}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
async def test_check_accepts_the_sample(binary: Path, sample: Path) -> None:
    code, out, error = await command("check", str(sample))
    assert code == 0, f"{out}{error}"


async def test_check_refuses_a_mistake_with_its_line(binary: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nkeys: {devkey: secret}\ncluster: {secret: x}\ngatevay: {}\n")
    code, out, error = await command("check", str(bad))
    assert code == 1
    assert "line 4" in out + error
    assert "gateway" in out + error


async def test_the_samples_of_separate_programs_start_and_find_each_other(stage: Stage) -> None:
    together = [
        sample for sample in SAMPLES if len(roles_of(sample)) == 1 or is_shard_with_node(sample)
    ]
    ports: dict[int, int] = {}
    programs = [program_of(stage, sample, ports) for sample in together]
    assert programs
    for program in programs:
        program.start()
    for program in programs:
        await program.ready(seconds=60)


@pytest.mark.parametrize(
    "sample",
    [sample for sample in SAMPLES if "up" in sample.stem.split("-")],
    ids=lambda path: path.name,
)
async def test_the_sample_of_one_process_starts(stage: Stage, sample: Path) -> None:
    program = program_of(stage, sample, {}, role="up")
    program.start()
    await program.ready()
    await until("it prints a join URL", lambda: "http" in program.text())


def roles_of(sample: Path) -> list[str]:
    """The sections of programs in a sample."""
    if "up" in sample.stem.split("-"):
        return []
    text = yaml.safe_load(sample.read_text())
    return [role for role in ROLES if role in text]


def is_shard_with_node(sample: Path) -> bool:
    return roles_of(sample) == ["shard", "node"]


def program_of(
    stage: Stage, sample: Path, ports: dict[int, int], role: str | None = None
) -> Program:
    """The program of a sample, with the sample's ports replaced by free ones: the same port by the
    same, so that the programs still meet, but the admin port by a new one (one per machine)."""
    text = sample.read_text()
    config = yaml.safe_load(text)
    admin = f"127.0.0.1:{free_port()}"
    listen = (config.get("admin") or {}).get("listen")
    if listen:
        text = text.replace(listen, admin)

    def fresh(found: re.Match[str]) -> str:
        port = int(found.group(2))
        if found.group(0) in admin or port in ports.values():
            return found.group(0)
        return found.group(1) + str(ports.setdefault(port, free_port()))

    # Host and port, or a key that ends with `port`; other hosts than this machine stay this machine.
    text = re.sub(r"((?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]*\]|localhost):)(\d{2,5})\b", fresh, text)
    text = re.sub(r"(\b\w*port:\s*)(\d{2,5})\b", fresh, text)
    path = stage.folder / sample.name
    path.write_text(text)
    role = role or next(iter(roles_of(sample)))
    if role == "up":
        bind = f"127.0.0.1:{free_port()}"
        data = str(stage.folder / "data")
        arguments = ["up", "--bind", bind, "--admin", admin, "--data", data, "--config", str(path)]
    else:
        arguments = [role, "--config", str(path)]
    return stage.program(sample.stem, arguments, admin=admin)
