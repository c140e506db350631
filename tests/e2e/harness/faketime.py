"""A wall clock that a test sets for one process (libfaketime). Only `CLOCK_REALTIME` jumps: the
monotonic clocks of real machines do not."""

import os
from pathlib import Path

_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
)


def library() -> str | None:
    """Where libfaketime is installed."""
    return next((path for path in _LIBRARIES if Path(path).exists()), None)


class Clock:
    """The wall clock of the processes that are started with its environment."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        """From now on the clock is so much ahead (or behind)."""
        # Replaced at once: a reader never sees half of it.
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(self._file)

    def environment(self) -> dict[str, str]:
        """What such a process needs; all of the test's environment if it is used alone."""
        found = library()
        assert found, "libfaketime is not installed: run `make setup`"
        return {
            **os.environ,
            "LD_PRELOAD": found,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
