"""Where installed Python packages lie, with all that they need: what a zygote that imports them has to be shown, and nothing beside it.

A virtual environment holds the project too, and whatever else somebody installed; a sandbox is shown the packages by name.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

__all__ = ["PackageMissing", "places"]


class PackageMissing(Exception):
    """A package is not installed."""


def places(modules: Iterable[str]) -> dict[str, str]:
    """Absolute path of every top-level module, package and library folder that importing `modules` can need, by its name.

    A name is that of the import (`typing_extensions`: a file, `torch`: a folder) or of a folder beside it (`numpy.libs`). What a package
    requires is read from its metadata; optional extras and what is not installed are left out. Raises PackageMissing.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for module in modules:
        origin = _origin(module)
        if origin is None:
            raise PackageMissing(f"the package {module!r} is needed for baselines and is not installed")
        found[module] = str(origin)
        libraries = origin.parent / f"{module}.libs"
        if libraries.is_dir():
            found[libraries.name] = str(libraries)
        _add(module, found, seen)
    return found


def _origin(module: str) -> Path | None:
    """The package's folder, or the module's file; None where there is none. Imports nothing."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.has_location else None


def _add(project: str, found: dict[str, str], seen: set[str]) -> None:
    """Adds what the distribution `project` installed at the top level, and what it requires."""
    project = re.sub(r"[-_.]+", "-", project).lower()
    if project in seen:
        return
    seen.add(project)
    try:
        distribution = metadata.distribution(project)
    except metadata.PackageNotFoundError:
        return
    for name in _top_level(distribution):
        path = Path(str(distribution.locate_file(name))).resolve()
        if path.exists():
            found.setdefault(path.name.partition(".")[0] if path.is_file() else path.name, str(path))
    for requirement in distribution.requires or ():
        wanted, _, marker = requirement.partition(";")
        if "extra" in marker:
            continue
        named = re.match(r"[A-Za-z0-9._-]+", wanted.strip())
        if named is not None:
            _add(named.group(), found, seen)


def _top_level(distribution: metadata.Distribution) -> set[str]:
    """Names beside each other in site-packages: folders, single modules and extension modules. No metadata, scripts, data or `.pth`."""
    names = set()
    for file in distribution.files or ():
        first = file.parts[0]
        code = first.endswith((".py", ".so")) if len(file.parts) == 1 else not first.endswith((".dist-info", ".egg-info", ".data"))
        if code and first not in ("..", "__pycache__", "bin", "share", "include"):
            names.add(first)
    return names
