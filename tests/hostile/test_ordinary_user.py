"""The executor for a user who is not root, at every level that works for one: in many containers only Landlock does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_arena as arena
import numpy
import pytest

from fitness.problem import Problem
from fitness.sandbox import LEVELS

ROOT = arena.KERNELS.parent.parent.parent
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ATTACKS = [
    "honest_plain",
    "honest_openmp_pool",
    "opens_a_file",
    "kills_everybody",
    "fork_bomb",
    "eats_memory",
    "takes_over_the_loop",
    "hangs",
]

SCRIPT = """
import os, sys
sys.path[:0] = {paths!r}
from pathlib import Path
import hostile_arena as arena
from fitness.problem import Problem
from fitness.referee import Referee
from fitness.sandbox import LEVELS, available
why = available()[{level!r}]
if why is not None:
    sys.exit("SKIP " + why)
problem = Problem.load({problem!r})
for name, library in {libraries!r}.items():
    attack = arena.read(arena.KERNELS / (name + ".cpp"))
    with Referee(sandbox=LEVELS[{level!r}], threads=attack.threads, memory=attack.memory, load_timeout=5.0, pool=1) as referee:
        verdict = arena.trial(referee, problem, Path(library), attack.n)
        print("as expected" if attack.as_expected(verdict) else "UNEXPECTED", os.getuid(), name, verdict)
"""


def _python() -> str:
    for candidate in (f"/usr/bin/python3.{sys.version_info.minor}", f"/usr/local/bin/python3.{sys.version_info.minor}", sys.executable):
        if (
            Path(candidate).exists()
            and subprocess.run([*NOBODY, candidate, "-c", ""], capture_output=True, cwd="/", check=False).returncode == 0
        ):
            return candidate
    pytest.skip("no Python of this version that other users may execute")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv to become somebody else")
@pytest.mark.parametrize("level", list(LEVELS))
def test_verdicts_are_the_same_for_an_ordinary_user(level: str, toy: Problem, tmp_path: Path) -> None:
    attacks = [arena.read(arena.KERNELS / f"{name}.cpp") for name in ATTACKS]
    public = Path(os.environ["XDG_CACHE_HOME"])
    libraries = {attack.name: str(arena.build(attack.path, attack.flags)) for attack in attacks}
    problem = public / "problem-for-everybody"
    shutil.copytree(toy.folder, problem, dirs_exist_ok=True)
    for place in (public, *public.rglob("*")):
        place.chmod(place.stat().st_mode | (0o755 if place.is_dir() else 0o444))
    paths = [str(ROOT), str(ROOT / "tests" / "data"), str(Path(numpy.__file__).parent.parent)]
    script = SCRIPT.format(paths=paths, level=level, problem=str(problem), libraries=libraries)
    environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "XDG_CACHE_HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*NOBODY, _python(), "-c", script], capture_output=True, text=True, cwd="/", env=environment, timeout=120, check=False
    )
    if "SKIP" in done.stderr or "PermissionError" in done.stderr or "No module named" in done.stderr:
        pytest.skip(f"{level} cannot be tried as another user here: {done.stderr.strip()[-300:]}")
    lines = done.stdout.splitlines()
    assert len(lines) == len(ATTACKS) and all(line.startswith("as expected 65534") for line in lines), done.stdout + done.stderr
