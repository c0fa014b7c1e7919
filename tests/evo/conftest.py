"""Finished runs to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from evo.cli import main


@pytest.fixture(scope="session")
def runs(small_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two finished runs on the small recorded space: `alpha` and `beta`."""
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "small.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 60}}\nexecutor: inline\ndeterministic: true\n")
    for seed, name in enumerate(("alpha", "beta")):
        assert main(["run", str(config), "--set", f"seed={seed}", "-o", str(folder / name)]) == 0
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose runs are the finished ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVO_RUNS", str(runs))
    return tmp_path
