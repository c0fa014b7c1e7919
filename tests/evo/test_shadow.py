"""A file of the user's own that would be imported in place of one of our packages is refused, by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def evo_in(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evo", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("name", ["archive", "fitness", "operators"])
def test_a_local_module_is_refused_with_its_path_and_a_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the shadow was imported')\n")
    done = evo_in(tmp_path, "version")
    assert done.returncode == 2
    assert str(tmp_path / f"{name}.py") in done.stderr
    assert "remedy:" in done.stderr and "rename" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_a_local_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fitness").mkdir()
    (tmp_path / "fitness" / "__init__.py").touch()
    done = evo_in(tmp_path, "version")
    assert done.returncode == 2
    assert str(tmp_path / "fitness") in done.stderr


def test_a_shadow_on_pythonpath_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "lib"
    elsewhere.mkdir()
    (elsewhere / "operators.py").touch()
    done = evo_in(tmp_path, "version", PYTHONPATH=str(elsewhere))
    assert done.returncode == 2
    assert str(elsewhere / "operators.py") in done.stderr


def test_importing_a_public_name_beside_a_shadow_says_so(tmp_path: Path) -> None:
    (tmp_path / "archive.py").touch()
    done = subprocess.run([sys.executable, "-c", "import evo; evo.Kernel"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"ShadowError: {tmp_path / 'archive.py'} hides evo's own package `archive`" in done.stderr


def test_a_data_folder_of_the_same_name_is_no_shadow(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "notes.txt").touch()
    (tmp_path / "experiments").mkdir()
    done = evo_in(tmp_path, "version")
    assert done.returncode == 0, done.stderr


def test_without_its_requirements_evo_says_how_to_install_them(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-S", "-m", "evo", "version"], cwd=repository, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install" in done.stderr and "Traceback" not in done.stderr
