"""How facts become columns and come back: JSON, samples as BLOBs, goals, cells, evaluations.

JSON columns are strict JSON, so that SQLite's own functions and every other reader understand them; numbers that JSON does
not know are written as the strings `NaN`, `Infinity` and `-Infinity`, and come back as numbers in profiles and costs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.candidate import Cell, Goal, Repair, SetValues, VisitCell
from archive.evaluation import EMPTY, Diagnostic, Evaluation, Outcome, Samples

__all__ = [
    "added",
    "cell_of",
    "cell_text",
    "dump",
    "evaluation_columns",
    "evaluation_of",
    "goal_of",
    "goal_text",
    "load",
    "pairs_of",
    "samples_of",
    "speedup",
]

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

EvaluationRow = tuple[Any, ...]
"""kernel, outcome, objective, low, high, speedup, diagnostics, profile, cost, artifact, environment, reused."""


def _plain(value: object) -> object:
    """What `json` cannot encode by itself: NumPy scalars and arrays, dataclass-free mappings and sets; anything else as its text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value)


def _encoder() -> Callable[[object], str]:
    """Encodes strictly. `json.JSONEncoder` makes a new scanner for each call, which costs more than a candidate's facts themselves."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another implementation of Python
        return json.JSONEncoder(default=_plain, allow_nan=False, separators=(",", ":")).encode
    scan = make(None, _plain, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False)
    return lambda value: "".join(scan(value, 0))


_encode = _encoder()


def dump(value: object) -> str:
    """Strict JSON of nested mappings, sequences and scalars."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(_finite(json.loads(json.dumps(value, default=_plain))))


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


def load(text: str | None) -> dict[str, Any]:
    """A JSON object; empty when there is none."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _facts(text: str | None) -> Mapping[str, Any]:
    if not text:
        return EMPTY
    found = load(text)
    return {k: NUMBERS.get(v, v) if isinstance(v, str) else v for k, v in found.items()}


def added(text: str | None, facts: Mapping[str, object]) -> str:
    """A column of facts with others added; same names are replaced."""
    return dump({**_facts(text), **facts})


def goal_text(goal: Goal) -> str | None:
    if goal is None:
        return None
    if isinstance(goal, SetValues):
        return dump({"set_values": goal.values})
    if isinstance(goal, VisitCell):
        return dump({"visit_cell": goal.cell})
    return dump({"repair": goal.candidate})


def goal_of(text: str | None) -> Goal:
    """Raises ValueError for a goal that this version does not know."""
    if text is None:
        return None
    ((kind, content),) = load(text).items()
    if kind == "set_values":
        return SetValues(content)
    if kind == "visit_cell":
        return VisitCell(tuple(content))
    if kind == "repair":
        return Repair(content)
    raise ValueError(f"unknown goal {kind!r} in a stored proposal")


def cell_text(cell: Cell | None) -> str | None:
    """`1,0,3`: readable, and equal texts are equal cells."""
    return None if cell is None else ",".join(map(str, cell))


def cell_of(text: str | None) -> Cell | None:
    return None if text is None else tuple(int(part) for part in text.split(","))


def speedup(objective: float) -> float:
    """exp(objective), at most what a float64 holds."""
    return math.exp(min(objective, 700.0))


def evaluation_columns(e: Evaluation) -> EvaluationRow:
    low, high = e.interval if e.interval is not None else (None, None)
    diagnostics = dump([(d.stage, d.reason, d.message, d.details) for d in e.diagnostics]) if e.diagnostics else None
    objective = None if e.objective is None else float(e.objective)
    return (
        e.kernel_id, e.outcome.value, objective, low, high, None if objective is None else speedup(objective), diagnostics,
        dump(e.profile) if e.profile else None, dump(e.cost) if e.cost else None, e.artifact, e.environment, e.reused,
    )  # fmt: skip


def evaluation_of(row: EvaluationRow, samples: tuple[Samples, ...]) -> Evaluation:
    kernel, outcome, objective, low, high, _, diagnostics, profile, cost, artifact, environment, reused = row
    return Evaluation(
        kernel_id=kernel,
        outcome=Outcome(outcome),
        diagnostics=tuple(Diagnostic(*d) for d in json.loads(diagnostics)) if diagnostics else (),
        objective=objective,
        interval=None if low is None or high is None else (low, high),
        samples=samples,
        profile=_facts(profile),
        cost=_facts(cost),
        artifact=artifact,
        environment=environment,
        reused=reused,
    )


def pairs_of(samples: Samples) -> bytes:
    """(n, 2) little-endian float64: kernel seconds and baseline seconds in turn."""
    pairs: NDArray[np.float64] = np.empty((samples.seconds.size, 2), "<f8")
    pairs[:, 0] = samples.seconds
    pairs[:, 1] = samples.baseline
    return pairs.tobytes()


def samples_of(rows: Iterable[tuple[str, int, bytes]]) -> tuple[Samples, ...]:
    """`Samples` from (shape, only_longer, pairs) rows."""
    found = []
    for shape, only_longer, blob in rows:
        pairs = np.frombuffer(blob, "<f8").astype(np.float64).reshape(-1, 2)
        found.append(Samples(shape, pairs[:, 0].copy(), pairs[:, 1].copy(), bool(only_longer)))
    return tuple(found)
