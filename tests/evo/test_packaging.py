"""What a newcomer meets before the program itself: Makefile, wheel, CI script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

NOT_SOURCE = (".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "build", "dist", "notebooks", "runs")


def make(repository: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    if program is None:
        pytest.skip("no make on this machine")
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "MAKEFLAGS", "MAKELEVEL", "VENV", "PYTHON")}
    if path is not None:
        environment["PATH"] = path
    return subprocess.run([program, *arguments], cwd=repository, capture_output=True, text=True, timeout=120, env=environment)


def test_a_second_make_run_sets_nothing_up(repository: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / ".evo-base").touch()
    done = make(repository, "-n", "run", f"VENV={venv}")
    assert done.returncode == 0, done.stderr
    assert "-m evo run experiments/softmax.yaml" in done.stdout
    assert "install" not in done.stdout.replace("apt install", "")


def test_changed_requirements_are_installed_again(repository: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / ".evo-base").touch()
    os.utime(venv / ".evo-base", (0, 0))
    done = make(repository, "-n", "run", f"VENV={venv}")
    assert "--editable ." in done.stdout


def test_a_missing_compiler_is_said_with_the_line_that_installs_one(repository: Path, tmp_path: Path) -> None:
    done = make(repository, "compiler", path=str(tmp_path))
    assert done.returncode == 2
    assert "apt install g++" in done.stderr


def test_a_python_without_venv_is_said_with_the_line_that_installs_it(repository: Path, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexit 0\n')
    python.chmod(0o755)
    done = make(repository, f"{tmp_path}/venv/bin/python", f"VENV={tmp_path}/venv", f"PYTHON={python}")
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr


def test_an_old_python_is_refused_with_what_is_needed(repository: Path, tmp_path: Path) -> None:
    done = make(repository, f"{tmp_path}/venv/bin/python", f"VENV={tmp_path}/venv", "PYTHON=")
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr


def test_the_ci_script_is_executable_and_parses(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


@pytest.mark.slow
def test_the_wheel_ships_packages_problems_and_experiments(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(repository, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE, "*.egg-info"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path / "wheels"), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, stdin=subprocess.DEVNULL)
    if done.returncode and ("No matching distribution" in done.stderr or "Failed to establish" in done.stderr):
        pytest.skip("the build's own requirements cannot be had here")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "evo/plots/evo.mplstyle",
        "evo/py.typed",
        "archive/lineage.py",
        "fitness/native/compare.c",
        "operators/base.py",
        "experiments/softmax.yaml",
        "experiments/problems/softmax/problem.py",
        "experiments/problems/softmax/baseline.py",
        "experiments/problems/softmax/seed.cpp",
    ):
        assert needed in held
    shipped = {path.relative_to(repository).as_posix() for path in (repository / "experiments").glob("*.yaml")}
    shipped |= {
        path.relative_to(repository).as_posix() for path in (repository / "experiments/problems").glob("*/*") if path.is_file()
    }
    assert shipped <= held
    assert not [name for name in held if name.startswith(("tests/", "notebooks/"))]
