"""The benches themselves: a short run of each has all its rows, and what does not count says so."""

import asyncio
import json
import math
import os
import sys
from pathlib import Path

from harness.guard import guarded
from harness.program import BINARY, ROOT

# The bench's own waits end long before.
_PATIENCE_S = 120
_LOAD = Path(os.environ.get("BENCH", BINARY.parent / "bench"))
SUBJECTS = ("haproxy", "nginx", "anteroom")
EACH_WAY = (
    "http-cpu",
    "http-rate",
    "upgrade-cpu",
    "upgrade-rate",
    "message-100",
    "message-2048",
    "latency-p50-added",
    "latency-p99-added",
    "idle",
    "idle-used",
)


async def bench_gateway(folder: Path, *arguments: str) -> dict:
    output = folder / "gateway.json"
    script = str(ROOT / "tests/bench_gateway.py")
    running = await asyncio.create_subprocess_exec(
        *guarded(sys.executable, script, "--quick", "--output", str(output), *arguments),
        env={**os.environ, "ANTEROOM": str(BINARY), "BENCH": str(_LOAD)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(running.communicate(), _PATIENCE_S)
    finally:
        if running.returncode is None:
            running.terminate()
            await running.wait()
    assert running.returncode == 0, told.decode()
    return json.loads(output.read_text())


async def test_a_short_run_of_the_gateway_bench_has_all_rows(binary: Path, tmp_path: Path) -> None:
    result = await bench_gateway(tmp_path)
    assert {"machine", "versions", "rows", "ratios"} <= result.keys()
    assert result["machine"]["cores"] == os.cpu_count()
    assert result["versions"].keys() == set(SUBJECTS)
    rows = {(row["subject"], row["scenario"]): row for row in result["rows"]}
    scenarios = [f"{name}-{way}" for name in EACH_WAY for way in ("plain", "tls")]
    scenarios += ["reload-lost", "reload-failed-requests", "reload-failed-joins"]
    for subject in SUBJECTS:
        for scenario in scenarios:
            row = rows[subject, scenario]
            assert row["unit"], row
            assert len(row["values"]) == 1, row
            assert math.isfinite(row["median"]), row
            assert row["valid"] == (row["flaws"] == []), row
    # Whoever was at a limit: no answer was wrong, and no reload has cost a WebSocket.
    wrong = [row for row in result["rows"] if any("errors" in flaw for flaw in row["flaws"])]
    assert not wrong, wrong
    assert rows["anteroom", "reload-lost"]["values"] == [0]
    assert result["ratios"]["idle-plain anteroom/haproxy"] > 0


async def test_what_a_generator_at_its_limit_measures_does_not_count(
    binary: Path, tmp_path: Path
) -> None:
    # So much that a proxy of a debug build beside it does not keep the machine busy.
    waste = ("--only", "http", "--ways", "plain", "--waste-us", "20000")
    result = await bench_gateway(tmp_path, *waste)
    assert len(result["rows"]) == 2 * len(SUBJECTS)
    for row in result["rows"]:
        assert not row["valid"], row
        assert "limit" in row["flaws"][0], row
    assert result["ratios"] == {}
