"""What every test shares: a cache of its own, no colours, no GPU tests without a GPU."""

from __future__ import annotations

import os
import shutil
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
    os.environ["XDG_CACHE_HOME"] = os.environ[CACHE_VARIABLE]
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["NO_COLOR"] = "1"
    for name in ("FORCE_COLOR", "EVO_DEBUG", "EVO_RUNS"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
