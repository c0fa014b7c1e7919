"""Every hostile kernel ends in its own verdict, at every sandbox level, and honest neighbours notice nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import hostile_arena as arena
import pytest

from archive.evaluation import Outcome
from fitness.problem import Problem
from fitness.referee import Referee

Referees = Callable[[int, int], Referee]
TERMS = len({(attack.threads, attack.memory) for attack in map(arena.read, arena.SOURCES)})
"""Referees that there can be at once, one for each of the attacks' terms."""
STANDING = 3
"""Runners that one may have of right: those that wait, one that is being made, the empty one that its clock is set by."""


def test_each_kernel_ends_as_its_header_says_and_the_next_honest_one_is_served(attack_file: Path, toy: Problem, referees: Referees) -> None:
    attack = arena.read(attack_file)
    if not attack.applies:
        pytest.skip(f"an attack on {attack.machine}, this is {platform.machine()}")
    if attack.threads > len(os.sched_getaffinity(0)) and len(os.sched_getaffinity(0)) == 1 and os.cpu_count() == 1:
        pytest.skip("needs two cores")
    referee = referees(attack.threads, attack.memory)
    honest = arena.build(arena.KERNELS / "honest_plain.cpp")
    library = arena.build(attack.path, attack.flags)
    assert arena.believed(referee, toy, honest).outcome is Outcome.OK
    descriptors = arena.descriptors()
    verdict = arena.believed(referee, toy, library, attack.n)
    assert attack.as_expected(verdict), f"{attack.name}: expected {attack.expected}, got {verdict}"
    after = arena.believed(referee, toy, honest)
    assert after.outcome is Outcome.OK, f"the honest kernel after {attack.name}: {after}"
    assert arena.descriptors() <= descriptors
    left = [pid for pid in arena.descendants() if _command(pid) == "evo-runner"]
    assert len(left) <= STANDING * TERMS, f"{attack.name} left runners behind: {left}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
