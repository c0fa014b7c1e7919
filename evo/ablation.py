"""What of a kernel carries its gain: each of its differences from its seed taken back, one at a time, and measured.

A difference is a tunable with another value. The reverted kernel and the whole one fight a duel (interleaved, in one
sitting), so that what is reported is a ratio measured side by side, with its interval. Gains do not add up: tunables help
each other, so the parts may lose more, or less, than the whole has won.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from archive.kernel import Kernel
from archive.values import Value
from evo.errors import UserError
from evo.reading import RunReader
from fitness.protocol import Evaluator, Prepared

__all__ = ["Ablation", "Plan", "Reversal", "ablate", "keep", "plan"]


@dataclass(frozen=True, slots=True)
class Reversal:
    """One tunable set back to what it was."""

    tunable: str
    evolved: Value
    plain: Value
    outcome: str
    """`measured`; `same program`, where it changes nothing that is run; `illegal`, where the others rule it out; else how it failed."""
    factor: float | None = None
    """How many times slower the kernel is without it; under 1: it does harm."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Ablation:
    """All reversals of one candidate, those that cost most first, and the whole way back to the seed."""

    candidate: int
    kernel: str
    seed: int
    """The ancestor that it is compared with."""
    whole: Reversal
    """Everything set back at once."""
    reversals: tuple[Reversal, ...]

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    candidate: int
    kernel: Kernel
    seed: int
    plain: Kernel

    @property
    def differences(self) -> dict[str, tuple[Value, Value]]:
        """Tunable → (value in the kernel, value in the seed)."""
        before = self.plain.values
        return {name: (value, before[name]) for name, value in self.kernel.values.items() if value != before[name]}


def plan(reader: RunReader, number: int) -> Plan:
    """The candidate and the farthest ancestor that differs from it in tunables' values alone.

    Raises:
        UserError: there is no such ancestor, or they are the same kernel.
    """
    kernel = reader.candidate(number).kernel
    file = reader.folder
    if kernel is None:
        raise UserError(f"Candidate {number} has no kernel.", file=file, remedy="evo show lists what there is.")
    for ancestor in reversed(reader.lineage.ancestry(number)):
        plain = reader.candidate(ancestor.candidate).kernel
        if plain is not None and plain.language == kernel.language and plain.family == kernel.family and plain != kernel:
            return Plan(number, kernel, ancestor.candidate, plain)
    for candidate in reader.lineage.candidates():  # it may come from a sample, whose seed is no parent of it
        plain = candidate.kernel
        if candidate.proposal.operator == "seed" and plain is not None and plain.family == kernel.family and plain != kernel:
            return Plan(number, kernel, candidate.number, plain)
    raise UserError(
        f"Candidate {number} does not differ from its seed in its tunables' values, so there is nothing to take back.",
        file=file, remedy="Choose another candidate: evo show; kernels whose text was rewritten are compared with `evo show`, as a diff.",
    )  # fmt: skip


def ablate(evaluator: Evaluator, plan: Plan, watch: Callable[[str], None] = lambda message: None) -> Ablation:
    """Measures every reversal.

    Args:
        watch: told a line before each measurement.

    Raises:
        UserError: the candidate itself cannot be built or measured any more.
    """
    whole = evaluator.prepare(plan.kernel)
    if whole.failed is not None:
        said = whole.failed.diagnostics[0].message if whole.failed.diagnostics else whole.failed.outcome.value
        raise UserError(f"Candidate {plan.candidate} cannot be built here.", found=said, remedy="evo doctor says what is missing.")
    watch("the seed itself")
    back = _measured(evaluator, whole, plan.plain, Reversal("all of them", "", "", "measured"))
    found = []
    for name, evolved, plain, kernel in _reverted(plan):
        watch(f"{name} {evolved} back to {plain}")
        blank = Reversal(name, evolved, plain, "illegal")
        found.append(blank if kernel is None else _measured(evaluator, whole, kernel, blank))
    order = sorted(found, key=lambda one: -(one.factor if one.factor is not None else 0.0))
    return Ablation(plan.candidate, plan.kernel.id, plan.seed, back, tuple(order))


def _reverted(plan: Plan) -> Iterator[tuple[str, Value, Value, Kernel | None]]:
    for name, (evolved, plain) in plan.differences.items():
        legal = plan.kernel.space.legal({**plan.kernel.values, name: plain})
        yield name, evolved, plain, plan.kernel.with_values({name: plain}) if legal else None


def _measured(evaluator: Evaluator, whole: Prepared, kernel: Kernel, blank: Reversal) -> Reversal:
    prepared = evaluator.prepare(kernel)
    if prepared.failed is not None:
        return _ended(blank, prepared.failed.outcome.value)
    if prepared.artifact and prepared.artifact == whole.artifact:
        return _ended(blank, "same program")
    alone = evaluator.measure(prepared)  # a duel does not verify
    if not alone.ok:
        return _ended(blank, alone.outcome.value)
    duel = evaluator.duel(prepared, whole)
    if not duel.challenger.ok or not duel.incumbent.ok:
        return _ended(blank, (duel.challenger if not duel.challenger.ok else duel.incumbent).outcome.value)
    low, high = duel.interval
    return Reversal(blank.tunable, blank.evolved, blank.plain, "measured", math.exp(-duel.advantage), math.exp(-high), math.exp(-low))


def _ended(blank: Reversal, outcome: str) -> Reversal:
    return Reversal(blank.tunable, blank.evolved, blank.plain, outcome)


def keep(ablation: Ablation, folder: Path) -> tuple[Path, Path]:
    """Writes `ablation-N.json` and its bar chart into the run's folder; returns both paths."""
    from evo.plots import save
    from evo.plots.ablation import draw_ablation

    data = folder / f"ablation-{ablation.candidate}.json"
    unfinished = data.with_suffix(".new")
    unfinished.write_text(ablation.dump(), encoding="utf-8")
    unfinished.replace(data)
    return data, save(draw_ablation(ablation), data.with_suffix(".png"))
