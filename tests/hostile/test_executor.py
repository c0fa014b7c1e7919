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


def test_each_kernel_ends_as_its_header_says_and_the_next_honest_one_is_served(attack_file: Path, toy: Problem, referees: Referees) -> None:
    attack = arena.read(attack_file)
    if not attack.applies:
        pytest.skip(f"an attack on {attack.machine}, this is {platform.machine()}")
    if attack.threads > len(os.sched_getaffinity(0)) and len(os.sched_getaffinity(0)) == 1 and os.cpu_count() == 1:
        pytest.skip("needs two cores")
    referee = referees(attack.threads, attack.memory)
    honest = arena.build(arena.KERNELS / "honest_plain.cpp")
    library = arena.build(attack.path, attack.flags)
    assert arena.trial(referee, toy, honest).outcome is Outcome.OK
    descriptors = arena.descriptors()
    verdict = arena.trial(referee, toy, library, attack.n)
    assert attack.as_expected(verdict), f"{attack.name}: expected {attack.expected}, got {verdict}"
    after = arena.trial(referee, toy, honest)
    assert after.outcome is Outcome.OK, f"the honest kernel after {attack.name}: {after}"
    assert arena.descriptors() <= descriptors
    left = [pid for pid in arena.descendants() if _command(pid) == "evo-runner"]
    assert len(left) <= 8, f"{attack.name} left runners behind: {left}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
