"""Processes that die with the test run, even if that is killed.

They get a process group of their own, and not a session: Linux shares a busy machine between sessions
(autogroup, sched(7)), and a server that needs little of it was seen to wait for seconds for its turn.
"""

import shutil

_SETPRIV = shutil.which("setpriv")


def guarded(*command: str) -> list[str]:
    """The command, so that it ends when its parent does."""
    guard = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []
    return [*guard, *command]
