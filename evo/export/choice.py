"""Which kernels of a run are worth taking away."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archive.candidate import Candidate
from archive.kernel import Kernel
from archive.stats import log_speedup
from evo.errors import UserError
from evo.reading import RunReader

__all__ = ["ADVANTAGE", "Specialist", "certified", "contenders", "specialists"]

ADVANTAGE = 1.05
"""How much faster than the winner another elite has to be on a shape to be its specialist."""


@dataclass(frozen=True, slots=True)
class Specialist:
    """A certified kernel and the shapes it is for."""

    candidate: int
    kernel: Kernel
    certificate: Mapping[str, Any]
    homes: tuple[str, ...]
    """Labels of the search's shapes that are nearest to what it serves; all of them for the only one."""


def contenders(reader: RunReader, most: int) -> list[int]:
    """The winner, and up to `most` - 1 elites that are clearly faster than it on some shape of the search.

    Raises:
        UserError: the run has no best kernel.
    """
    winner = reader.number_of("best")
    if most < 2:
        return [winner]
    elites = [row["candidate"] for row in reader.lineage.select("SELECT candidate FROM elites WHERE run = ?", (reader.record.id,))]
    speeds = {number: _speeds(reader.candidate(number)) for number in {winner, *elites}}
    chosen = [winner]
    for shape, speed in sorted(speeds[winner].items()):
        fastest = max(speeds, key=lambda number: speeds[number].get(shape, 0.0))
        if fastest not in chosen and speeds[fastest][shape] > ADVANTAGE * speed and len(chosen) < most:
            chosen.append(fastest)
    return chosen


def certified(reader: RunReader, number: int) -> Mapping[str, Any] | None:
    """The newest certificate of a candidate's kernel, good or bad, as stored; None when there is none."""
    kernel = reader.candidate(number).kernel
    rows = reader.lineage.select(
        "SELECT facts, time FROM certificates WHERE run = ? AND kernel = ? ORDER BY id DESC LIMIT 1",
        (reader.record.id, "" if kernel is None else kernel.id),
    )
    return {**json.loads(rows[0]["facts"]), "time": rows[0]["time"]} if rows else None


def specialists(reader: RunReader, numbers: list[int]) -> list[Specialist]:
    """Those of the candidates that hold a good certificate, each with the shapes it is the fastest of them on.

    Raises:
        UserError: the winner, which comes first, has no good certificate.
    """
    good = {number: certificate for number in numbers if (certificate := certified(reader, number)) and certificate["ok"]}
    if numbers[0] not in good:
        raise UserError(
            "The best kernel of this run is not certified, so there is nothing to say for it.",
            file=reader.folder,
            found=f"no good certificate for candidate {numbers[0]}",
            expected="a certified winner",
            remedy=f"evo resume {reader.folder} ends the search with a certification; evo certify {reader.folder} makes one now.",
        )
    speeds = {number: _speeds(reader.candidate(number)) for number in good}
    homes: dict[int, list[str]] = {number: [] for number in good}
    for shape in speeds[numbers[0]]:
        homes[max(speeds, key=lambda number: speeds[number].get(shape, 0.0))].append(shape)
    if len(good) == 1:
        homes[numbers[0]] = list(speeds[numbers[0]])
    found = []
    for number, certificate in good.items():
        kernel = reader.candidate(number).kernel
        assert kernel is not None  # it is certified
        if homes[number]:
            found.append(Specialist(number, kernel, certificate, tuple(homes[number])))
    return found


def _speeds(candidate: Candidate) -> dict[str, float]:
    """Speedup by shape, as the search measured it."""
    evaluation = candidate.evaluation
    return {} if evaluation is None else {s.shape: math.exp(log_speedup(s)) for s in evaluation.samples}
