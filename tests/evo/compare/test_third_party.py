"""A strategy that somebody else wrote: in a file, or in an installed package that offers it by an entry point."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
problems: [{recording}]
strategies:
  - climber
  - {{name: climber.py:Climber, label: by file}}
  - {{name: climber, label: patient, patience: 50}}
seeds: 2
budget: {{evaluations: 30}}
resamples: 100
deterministic: true
jobs: 2
"""


@pytest.fixture
def written(tmp_path: Path) -> str:
    """The strategy as the README shows it, beside the config and in the metadata of an installed package."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- file: climber\.py -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    site = tmp_path / "site"
    metadata = site / "climbing-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: climbing\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[evo.strategies]\nclimber = climbing:Climber\n")
    (site / "climbing.py").write_text(shown[1])
    (tmp_path / "climber.py").write_text(shown[1])
    (tmp_path / "mine.yaml").write_text(CONFIG.format(recording=ROOT / "experiments" / "recorded" / "matmul.csv.gz"))
    return shown[1]


def compare(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "evo", "compare", "mine.yaml", "-o", "out"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_strategy_of_the_readme_takes_twenty_lines(written: str) -> None:
    lines = [line for line in written.partition("class ")[2].splitlines() if line.strip()]
    assert len(lines) <= 20


def test_a_package_and_a_file_bring_the_same_strategy_into_a_comparison(written: str, tmp_path: Path) -> None:
    done = compare(tmp_path)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert all(name in report for name in ("climber", "by file", "patient"))
    with open(tmp_path / "out" / "curves.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curves = {name: [(row["seed"], row["best_speedup"]) for row in rows if row["strategy"] == name] for name in ("climber", "by file")}
    assert len(curves["climber"]) == 60 and curves["climber"] == curves["by file"]
