"""Local files that shadow our packages.

The floors are top-level packages with ordinary names, so an `archive.py` of the user's own in the working folder (or on
PYTHONPATH) may be found before ours. That would surface as an obscure ImportError somewhere deep; it is refused here, early.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["PACKAGES", "ShadowError", "refuse_shadows", "shadows"]

PACKAGES = ("archive", "fitness", "operators")


class ShadowError(ImportError):
    """A file that is not ours would be imported under one of our names."""


def shadows() -> dict[str, Path]:
    """Foreign files and folders that `import` would take for our packages, by package name."""
    home = Path(__file__).resolve().parent.parent
    found: dict[str, Path] = {}
    for name in PACKAGES:
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None) if module is not None else PathFinder.find_spec(name)
        if spec is None:
            continue  # an editable install may provide it through a finder of its own, which nothing on the path can shadow
        where = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if where is None or where == "namespace":
            continue
        path = Path(where).resolve()
        if path != home / name and home / name not in path.parents:
            found[name] = path.parent if path.name == "__init__.py" else path
    return found


def refuse_shadows() -> None:
    """Raises `ShadowError` naming each offending file and what to do about it; silent when there is none."""
    found = shadows()
    if not found:
        return
    lines = [f"{path} hides evo's own package `{name}`" for name, path in sorted(found.items())]
    raise ShadowError(
        "\n".join(lines)
        + f"\n  expected: `import {next(iter(sorted(found)))}` to find {Path(__file__).resolve().parent.parent}"
        + "\n  remedy:   rename the file, or run `evo` (not `python -m evo`) from another folder and without it on PYTHONPATH"
    )
