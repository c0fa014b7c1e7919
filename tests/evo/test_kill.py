"""The short form of the kill campaign: real runs killed at random moments, and without what they need."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def campaign() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "experiments" / "bench" / "kill_campaign.py"
    spec = importlib.util.spec_from_file_location("kill_campaign", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_campaign"] = module
    spec.loader.exec_module(module)
    return module


CAMPAIGN = campaign()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with CAMPAIGN.bench(tmp_path_factory.mktemp("kills")) as bench:
        yield bench


def test_eight_kills_lose_nothing_but_what_was_in_flight(made: Any) -> None:
    CAMPAIGN.kills(made, 8, random.Random())
    assert sum(count for what, count in made.tally.items() if what.startswith("killed")) == 8


@pytest.mark.parametrize("fault", ["workers", "deleted_cache", "jumping_clock", "two_at_once"])
def test_a_run_survives(made: Any, fault: str) -> None:
    CAMPAIGN.FAULTS[fault](made, 2, random.Random())


@pytest.mark.parametrize("fault", ["full_disk", "read_only"])
def test_a_run_that_cannot_write_says_so_and_can_be_resumed(made: Any, fault: str) -> None:
    if not CAMPAIGN.can_mount():
        pytest.skip("this process may not mount")
    CAMPAIGN.FAULTS[fault](made, 1, random.Random())


def test_the_campaign_would_notice_a_lost_candidate_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(CAMPAIGN.Broken, match="gone or changed"):
        CAMPAIGN.expect_kept({0: "a", 1: "b"}, {0: "a"})
    with pytest.raises(CAMPAIGN.Broken, match="gone or changed"):
        CAMPAIGN.expect_kept({0: "a"}, {0: "c"})


def test_the_campaign_would_notice_a_process_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setattr(CAMPAIGN, "PATIENCE", 0.2)
    left = subprocess.Popen(["sleep", "60"])
    watch = CAMPAIGN.Watch(left.pid)
    try:
        import time

        time.sleep(0.2)
        watch.stop()
        with pytest.raises(CAMPAIGN.Broken, match="outlived"):
            watch.expect_none_left()
    finally:
        left.kill()
        left.wait()


def test_a_run_killed_before_its_first_transaction_is_resumed(made: Any) -> None:
    run = made.home / "first-moment"
    done = made.evo(*made.begin(str(run)))
    assert done.returncode == 0, done.stderr
    for path in run.iterdir():
        if path.name != "config.yaml":
            path.unlink()
    CAMPAIGN.finish(made, run)
