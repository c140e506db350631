"""Fixtures: one browser for the run, one stage per test."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from harness import measured
from harness.browser import Chromium
from harness.program import BINARY
from harness.stage import Stage

_stages = pytest.StashKey[Stage]()


def pytest_configure(config: pytest.Config) -> None:
    """A polite end for `kill`: fixtures are cleared and no program is left."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program under test."""
    assert BINARY.exists(), f"{BINARY} is not built: run `make e2e`"
    return BINARY


@pytest_asyncio.fixture(scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """The browser of the run."""
    browser = Chromium()
    yield browser
    await browser.close()


@pytest_asyncio.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path: Path, chromium: Chromium, binary: Path
) -> AsyncIterator[Stage]:
    """What this test starts; all of it is ended and checked afterwards."""
    stage = Stage(tmp_path, chromium)
    request.node.stash[_stages] = stage
    yield stage
    await stage.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Iterator[pytest.TestReport]:
    """Adds logs and events to the report of a failure."""
    report = yield
    stage = item.stash.get(_stages, None)
    if report.failed and stage is not None:
        report.sections.extend(stage.report())
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what was measured."""
    if measured.lines:
        terminalreporter.section("measured")
        for line in measured.lines:
            terminalreporter.line(line)
