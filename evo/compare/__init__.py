"""Which search is better, on what, and how sure are we: strategies × problems × seeds under equal budgets.

`compare(config, out)` runs what is missing, keeps every finished run in `out/runs.jsonl`, and writes `curves.csv`,
`tests.csv`, pictures and `report.md` there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evo.compare.comparison import Comparison as Comparison
    from evo.compare.comparison import compare as compare
    from evo.compare.config import CompareConfig as CompareConfig
    from evo.compare.config import load_comparison as load_comparison

_HOMES = {
    "Comparison": "evo.compare.comparison",
    "compare": "evo.compare.comparison",
    "CompareConfig": "evo.compare.config",
    "load_comparison": "evo.compare.config",
}

__all__ = ["CompareConfig", "Comparison", "compare", "load_comparison"]


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'evo.compare' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
