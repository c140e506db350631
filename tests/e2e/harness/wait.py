"""Waiting for a condition, never for a time."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Multiplies every deadline: a loaded machine needs patience, not other tests.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "1"))


async def until(
    what: str,
    condition: Callable[[], T | Awaitable[T]],
    *,
    seconds: float = 30,
    every: float = 0.1,
    state: Callable[[], object] | None = None,
) -> T:
    """Polls `condition` until it holds and returns its value.

    A failing `AssertionError` inside the condition counts as "not yet" and is told in the end;
    `state` adds what was seen last to that message.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    seen: object = None
    while True:
        try:
            value = condition()
            if inspect.isawaitable(value):
                value = await asyncio.wait_for(value, max(1.0, deadline - time.monotonic()))
            if value:
                return value
            seen = value
        except (AssertionError, TimeoutError) as error:
            seen = error
        if time.monotonic() > deadline:
            last = state() if state else seen
            raise AssertionError(
                f"waited {seconds * PATIENCE:.0f} s for: {what}; last seen: {last}"
            )
        await asyncio.sleep(every)


async def stays(
    what: str, condition: Callable[[], bool | Awaitable[bool]], *, seconds: float
) -> None:
    """Watches that `condition` holds for `seconds`: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        assert value, f"did not stay: {what}"
        await asyncio.sleep(0.1)
