"""The benchmark on recorded spaces: what contestants are, and what leaving a kernel out means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "experiments" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import _recorded

    return _recorded


def test_a_contestant_is_a_strategy_with_parameters_and_settings(bench) -> None:
    text = "auto:initial=4+settings.around=2+without=[spread]"
    assert bench.parse_contestant(text) == ("auto", {"initial": 4, "settings": {"around": 2}, "without": ["spread"]})
    assert bench.split_contestants(f"{text},random,auto:without=[spread,squash]") == [text, "random", "auto:without=[spread,squash]"]
    assert bench.parse_contestant("evo:genetic") == ("genetic", {})
    with pytest.raises(SystemExit, match="key=value"):
        bench.parse_contestant("auto:around")


def test_what_is_chosen_without_a_kernel_is_measured_on_that_kernel_and_its_devices_go_together(bench) -> None:
    shares = {  # contestant: best/found by space
        "wide": {"gemm__a": 0.9, "gemm__b": 0.9, "conv": 0.2, "scan": 0.5},
        "narrow": {"gemm__a": 0.1, "gemm__b": 0.1, "conv": 0.8, "scan": 0.6},
    }
    results = [
        bench.Result(name, space, space.partition("__")[0], seed, {25: share})
        for name, by_space in shares.items()
        for space, share in by_space.items()
        for seed in (0, 1)
    ]
    chosen, figures = bench.left_out(results)
    assert chosen == {"gemm": "narrow", "conv": "wide", "scan": "wide"}
    blind, seen = figures[25]
    assert blind == pytest.approx((0.1 + 0.2 + 0.5) / 3) and seen == pytest.approx((0.9 + 0.2 + 0.5) / 3)
    with pytest.raises(ValueError, match="takes two"):
        bench.left_out([result for result in results if result.kernel == "gemm"])


def test_settings_of_auto_are_compared_by_leaving_kernels_out() -> None:
    spaces = ",".join(str(ROOT / "experiments" / "recorded" / f"{name}.csv.gz") for name in ("rope_bf16", "rms_norm_bf16"))
    command = [sys.executable, str(BENCH / "autotune_evo.py"), "--recorded", spaces, "--contestants", "auto,auto:settings.around=1"]
    done = subprocess.run([*command, "--seeds", "1", "--budget", "25", "--leave-one-out"], capture_output=True, text=True, check=True)
    assert "2 spaces, 1 seeds" in done.stdout and "auto:settings.around=1" in done.stdout
    assert "chosen without: rope_bf16 → auto" in done.stdout and "found by what was chosen without each kernel: " in done.stdout


def test_a_setting_that_auto_has_not_is_refused_with_those_it_has() -> None:
    from evo.errors import UserError
    from evo.strategies.registry import create_strategy

    with pytest.raises(UserError, match=r"no setting arround, only around, samples"):
        create_strategy("auto", {"settings": {"arround": 2}})
    with pytest.raises(UserError, match=r"a count of at least 0"):
        create_strategy("auto", {"settings": {"around": 2.5}})
    create_strategy("auto", {"settings": {"around": 2, "squash": 0.25}})
