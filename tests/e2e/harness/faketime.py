"""A wall clock that a test sets for one process, while it runs (`clock.c`)."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


def unavailable() -> str | None:
    """Why no clock can be set here; `None` if it can."""
    return None if shutil.which("cc") else "there is no C compiler (`make setup`)"


class Clock:
    """The wall clock of the processes that are started with its environment."""

    def __init__(self, folder: Path, name: str) -> None:
        self._library = folder / "clock.so"
        if not self._library.exists():
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(_SOURCE)],
                check=True,
            )
        self._file = folder / f"{name}.clock"
        self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)

    def set(self, seconds: int) -> None:
        """From now on the clock is so much ahead (or behind)."""
        self._page[:8] = struct.pack("=q", seconds)

    def environment(self) -> dict[str, str]:
        """What such a process needs, with all of the test's own environment."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "FAKE_CLOCK_FILE": str(self._file),
        }
