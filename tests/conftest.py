"""What every test shares: a cache of its own, no colours, no GPU tests without a GPU."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CACHE_VARIABLE = "EVO_TEST_CACHE"

settings.register_profile(
    "shared-machine", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared-machine")


def pytest_configure(config: pytest.Config) -> None:
    """Builds and ceilings made by tests go to one folder per session, shared by its workers and never the user's own."""
    if CACHE_VARIABLE not in os.environ:
        os.environ[CACHE_VARIABLE] = tempfile.mkdtemp(prefix="evo-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(CACHE_VARIABLE), ignore_errors=True))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A background job starts like that, and so would every program that a test starts and then interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["XDG_CACHE_HOME"] = os.environ[CACHE_VARIABLE]
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["NO_COLOR"] = "1"
    for name in ("FORCE_COLOR", "EVO_DEBUG", "EVO_RUNS"):
        os.environ.pop(name, None)


ALONE = ("hostile", "fitness/test_cgroup.py", "fitness/test_measuring.py", "fitness/test_roofline.py", "fitness/test_shares.py")
"""Tests that count processes, groups or memory of the whole machine, take all of it, or need its time undisturbed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if any(item.path.is_relative_to(here / name) for name in ALONE):
            item.add_marker(pytest.mark.alone)
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        return
    no_gpu = pytest.mark.skip(reason="no GPU on this machine")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(no_gpu)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def small_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded space of 144 configurations with a known optimum (TILE 64, UNROLL 4, VECTOR 8), some of which fail to build."""
    lines = ["TILE,UNROLL,VECTOR,status,time_ms,cost_ms"]
    for tile, unroll, vector in itertools.product((8, 16, 32, 64, 128, 256), (1, 2, 4, 8, 16, 32), (1, 2, 4, 8)):
        off = abs(math.log2(tile / 64)) + 0.7 * abs(math.log2(unroll / 4)) + 0.5 * abs(math.log2(vector / 8))
        fails = "compile" if unroll * vector > 128 else "wrong" if tile == 8 and unroll == 32 else "ok"
        time = f"{1.0 + 0.35 * off + 0.01 * ((tile + 3 * unroll + 7 * vector) % 11):.4f}" if fails == "ok" else ""
        lines.append(f"{tile},{unroll},{vector},{fails},{time},{200 + tile}")
    path = tmp_path_factory.mktemp("spaces") / "small.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
