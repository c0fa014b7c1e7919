"""The exported folder, written whole or not at all, built, tried and tested before it is handed over."""

from __future__ import annotations

import keyword
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive.evaluation import Outcome
from evo.config import Config
from evo.errors import UserError
from evo.export.alignment import ALIGNED, least_alignment
from evo.export.choice import Specialist
from evo.export.device import LANGUAGES, write_device_package
from evo.export.envelope import envelope_of
from evo.export.recipe import recipe
from evo.export.writer import Writer
from evo.reading import RunReader
from fitness.problem import Problem

__all__ = ["Exported", "export", "install"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made."""

    folder: Path
    module: str
    name: str
    kernels: tuple[int, ...]
    """Candidates."""
    alignment: int
    """Bytes that pointers have to be multiples of; others are copied first."""
    rule: str
    certified: dict[str, tuple[float, float, float]]
    """Speedup of the winner with its prediction interval, by baseline."""
    tests: str
    """What the package's own test printed."""


def export(reader: RunReader, config: Config, chosen: Sequence[Specialist], folder: Path, module: str | None = None) -> Exported:
    """Writes, builds and tests a package of the chosen kernels, the winner first.

    Raises:
        UserError: the folder is in use, the name is not one, the target has no export, or the package fails its own test.
    """
    if config.target.name not in ("cpp", *LANGUAGES):
        expected = ", ".join(("cpp", *LANGUAGES))
        raise UserError(
            "Kernels of this target cannot be exported.", file=reader.folder, key="target", found=config.target.name, expected=expected
        )
    problem = Problem.load(config.problem)
    module = module or (folder.name if folder.name.isidentifier() else f"{problem.name}_fast")
    if not module.isidentifier() or keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise UserError("This is not a module's name.", key="--name", found=module, expected="letters, digits and underscores")
    if config.target.name in LANGUAGES:
        with _unfinished(folder) as place:
            tests = write_device_package(reader, config, chosen[0], problem, module, place)
            for cached in [*place.rglob("__pycache__")]:
                shutil.rmtree(cached)
        return _exported(folder, module, problem, chosen[:1], 1, tests)
    made = recipe(module, chosen, config)
    with _unfinished(folder) as place:
        writer = Writer(problem, module, chosen, made, place)
        writer.write(1)  # any pointer, to see which ones the kernels can stand; the dispatcher is compiled with the answer
        _build(place)
        alignment = least_alignment(place, module)
        if alignment == ALIGNED:
            writer.write(alignment)
            _build(place)
        reproduce = f"evo run reproduce/{problem.name}.yaml"
        writer.document(reader, config, alignment, reproduce)
        tests = _test(place, module)
        for leftover in [*place.rglob("*.o"), *place.rglob("*.so")]:
            leftover.unlink()
        for cached in [*place.rglob("__pycache__")]:
            shutil.rmtree(cached)
    return _exported(folder, module, problem, chosen, alignment, tests)


def _exported(folder: Path, module: str, problem: Problem, chosen: Sequence[Specialist], alignment: int, tests: str) -> Exported:
    against = {name: (e["value"], e["low"], e["high"]) for name, e in chosen[0].certificate["against"].items()}
    rule = envelope_of(problem).rule() if problem.foreign is None else "the shapes it was verified on"
    return Exported(folder, module, problem.name, tuple(one.candidate for one in chosen), alignment, rule, against, tests)


def install(folder: Path) -> None:
    """pip-installs an exported package into the environment that this runs in. Raises UserError."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
    ]
    done = subprocess.run([*command, str(folder.resolve())], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        remedy = f"pip install {shlex.quote(str(folder))} in the environment of your choice."
        raise UserError(
            "The package cannot be installed.", file=folder, found=said[-1] if said else f"exit code {done.returncode}", remedy=remedy
        )


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder that becomes `folder` at the end, and nothing if that is not reached. Raises UserError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("The export's folder is in use.", file=folder, expected="an empty or new folder", remedy="Choose another with -o.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(
            "The export's folder cannot be made.", file=folder, found=error.strerror, remedy="Choose another with -o."
        ) from error
    try:
        yield place
        if folder.exists():
            folder.rmdir()
        place.chmod(0o755)
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _build(place: Path) -> None:
    done = subprocess.run([sys.executable, "evo_build.py"], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            "The exported sources do not build.", found=(done.stderr or done.stdout)[-1500:], remedy="evo doctor says what is missing."
        )


def _test(place: Path, module: str) -> str:
    done = subprocess.run([sys.executable, f"tests/test_{module}.py"], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise UserError(
            "The exported package fails its own test; nothing was exported.", found=said[-1500:] or f"ended with {Outcome.CRASH.value}",
            remedy="Certify the candidate again; if it passes, this is a defect of evo.",
        )  # fmt: skip
    return done.stdout
