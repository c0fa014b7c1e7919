"""Possession of the measuring core by the calling thread, for the length of a call."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

__all__ = ["PRIORITY", "pinned", "undisturbed"]

PRIORITY = -15
"""Nice value of the runner, and of the referee during a call, where the user may set one: others on the core then disturb less."""


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """The calling thread runs on this core and no other; afterwards where it might before, so that what it starts is not bound."""
    before = os.sched_getaffinity(0)
    if before == {core}:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The calling thread runs ahead of others, without garbage collection, where it may."""
    collecting = gc.isenabled()
    gc.disable()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    hurried = False
    if nice > PRIORITY:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
            hurried = True
    try:
        yield
    finally:
        if hurried:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        if collecting:
            gc.enable()
