"""The bench of media servers stays alive: our node alone, a short turn of something small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.program import BINARY

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(180)
def test_a_quick_run_writes_rows_in_the_form_of_all_benches(tmp_path: Path, binary: Path) -> None:
    output = tmp_path / "sfu.json"
    command = [sys.executable, str(TESTS / "bench_sfu.py"), "--quick", "--servers", "anteroom"]
    done = subprocess.run(
        [*command, "--output", str(output)],
        env={**os.environ, "ANTEROOM": str(binary), "BENCH": str(BINARY.parent / "bench")},
        capture_output=True,
        text=True,
        timeout=150,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    result = json.loads(output.read_text())
    assert {"machine", "versions", "rows", "ratios"} <= result.keys()
    rows = {(row["subject"], row["scenario"]): row for row in result["rows"]}
    for scenario in ("1x10", "2x3"):
        delivered = rows["anteroom", f"{scenario} delivered"]
        assert delivered["unit"] == "%"
        assert delivered["median"] > 99, said
        assert rows["anteroom", f"{scenario} cpu"]["median"] > 0, said
    assert rows["limit", "GCM, GSO of 8"]["median"] > 0, said
    assert "written to" in done.stdout
