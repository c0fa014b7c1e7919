r"""`auto`, the default strategy: a surrogate over the tunables of each family of kernels, and bandits over the rest.

Kernels of one text that differ in their tunables alone are a family. Every family has a Gaussian process over its tunables
(`evo.strategies.surrogate`), and the next configuration is the one that promises most (`evo.strategies.prospect`).

**Part by part.** Behind each part what best/found loses without it, on average over six published GPU spaces, with the standard error
of the difference and the number of evaluations at which it shows. Each part that has a name can be left out: `without: [NAME]`.

1. *spread*: the first 8 evaluations are far apart: of 24 random legal configurations the one farthest from all that is known.
   -.019 (.009) at 25, in four ablations weighed by their variances; nothing at 50 and beyond.
2. *lengthscales*: the process is a product of exp(-|x - x'| / l) over tunables, by rank; strings are equal or not. The l of each
   tunable is fitted by marginal likelihood whenever there is a quarter more data, so that what does not matter stops to count.
   -.008 (.008) at 50, in three ablations weighed by their variances: not shown to pay on these spaces.
3. *squash*: what works is drawn together by half below its median, for how bad the bad are says little of the best. A failure counts
   as the lowest tenth of what works. -.020 (.007) at 25, in the same four ablations; nothing at 50 and beyond.
4. *neighbours*: expected improvement over the best posterior mean, which noise cannot flatter, is taken over a pool of at most 640
   configurations, among them all that differ from one of the three best in one tunable. -.042 (.013) at 100.
5. *samples*: 12 random configurations more join the pool after each evaluation; the least promising give way. -.031 (.010) at 200. A
   space of at most 512 configurations is in the pool as a whole.
6. What is in flight lowers what is close to it, so that builds at the same time are not all alike; nothing is proposed twice. When
   the surrogate knows of nothing new, the neighbourhoods of the best are gone through, outwards, to the end of the space. (No figure:
   the replays have nothing in flight, and do not come to the end.)
7. Among families a discounted Thompson bandit chooses by the rank that their latest kernels had among all; where the config gives
   weights for other `operators` (those of language models), another one shares the proposals out between them and the surrogate by
   what entered the archive. A text that an operator brings forth is a family of its own from then on. (No figure: a recorded space
   has one family; among operators on tunables such a bandit does not pay, `experiments/results/adaptive.md`.)

**The whole.** After 100 evaluations it has found .952 (.008) of the best speed on the six spaces, the best of Kernel Tuner's optimizers
.917; on seven CPU spaces, on which nothing was ever chosen, .994 where chance has .962 (.003).

**What it costs.** Posteriors are extended by rows (O(n² + n m) for n points and m pool members), not made anew. Engine, archive and
lineage included, 400 evaluations of a recorded space take .45 s of one core (`experiments/results/strategies_gpu_spaces.md`).

**No fit to the six?** Chosen without a kernel and measured on it, variants of `auto` find .920 after 50 evaluations, and the one that
is chosen with everything in sight .931. To repeat such a choice (FILES are recorded spaces; those named KERNEL__DEVICE are left out
together):

    python experiments/bench/autotune_evo.py --recorded FILES --leave-one-out \
        --contestants "auto,auto:without=[spread],auto:settings.around=2+settings.samples=24"

Every table, what else was tried and what went, with the commands: `experiments/results/auto.md`.

Nothing depends on the clock, and on chance only through `rng`: what the surrogate knows is a function of what was told in which
order, so a resume goes on with the same proposals. Proposals are `set_values` edits of the nearest of the family's 16 best.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import fields, replace
from random import Random
from typing import Annotated, Any

from pydantic import Field

from archive.candidate import Candidate, SetValues
from archive.evaluation import Outcome
from archive.kernel import Kernel
from archive.space import Key
from archive.values import TunableError
from evo.strategies.bandit import Bandit, OperatorChoice
from evo.strategies.base import Move, Strategy
from evo.strategies.prospect import PARTS, Prospect, ProspectSettings
from operators.base import View

__all__ = ["Auto"]

PARENTS = 16
"""The best of a family that may be named as a proposal's parent."""
LATEST = 64
"""Objectives among which a new one has its rank, for the choice of families."""
SURROGATE = "set_values"
"""The operator that carries out what the surrogate wants."""


class Family:
    """The kernels of one text that differ in their tunables alone."""

    def __init__(self, first: Candidate, kernel: Kernel) -> None:
        self.kernel = kernel
        self.numbers: dict[Key, int] = {}
        """Candidate by key, of those that were evaluated."""
        self.best: list[tuple[float, Key]] = []
        """The best that work, best first."""
        self.first = first.number
        self.told: list[tuple[Key, float | None]] = []
        """Key and objective; None for what failed."""
        self.prospect: Prospect | None = None
        self._fed = 0

    def tell(self, candidate: Candidate, key: Key) -> None:
        evaluation = candidate.evaluation
        if evaluation is None or evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR or key in self.numbers:
            return
        self.numbers[key] = candidate.number
        objective = evaluation.objective if evaluation.ok else None
        self.told.append((key, objective))
        if objective is not None:
            self.best.append((objective, key))
            self.best.sort(key=lambda entry: (-entry[0], self.numbers[entry[1]]))
            del self.best[PARENTS:]

    def ready(self, view: View, settings: ProspectSettings) -> Prospect:
        """The prospect, told everything. It is a function of what was told in which order, not of when it is asked for."""
        if self.prospect is None:
            self.prospect = Prospect(view.space(self.kernel), settings)
        for key, objective in self.told[self._fed :]:
            self.prospect.tell(key, objective)
        self._fed = len(self.told)
        return self.prospect

    def parent(self, key: Key) -> tuple[int, Key]:
        """Of its best kernels the one with the most tunables in common (number, key); its first one while none works."""
        if not self.best:
            return self.first, self.kernel.key
        _, nearest = min(self.best, key=lambda entry: sum(a != b for a, b in zip(entry[1], key, strict=True)))
        return self.numbers[nearest], nearest


class Auto(Strategy):
    """See the module's text.

    Args:
        initial: evaluations spread over a family's space before the surrogate decides.
        without: parts to leave out, for ablations: any of `evo.strategies.prospect.PARTS`.
        settings: other sizes than the default ones, for comparisons: any number of `evo.strategies.prospect.ProspectSettings`.
        operators: further operators (those of models, say) with their weights; the surrogate's own weight is 1 unless
            `set_values` is among them. None: the surrogate alone.
        adaptive: whether operators that pay are chosen more often; matters only where there are further ones.
    """

    def __init__(
        self,
        *,
        initial: Annotated[int, Field(ge=2)] = 8,
        without: list[str] | None = None,
        settings: dict[str, int | float] | None = None,
        adaptive: bool = True,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        unknown = set(without or ()) - set(PARTS)
        if unknown:
            raise ValueError(f"there is no part {', '.join(sorted(unknown))} to leave out, only {', '.join(PARTS)}")
        self._settings = replace(ProspectSettings(initial=initial, without=frozenset(without or ())), **_sizes(settings or {}))
        self._operators = OperatorChoice({SURROGATE: 1.0, **(operators or {})}, adaptive=adaptive)
        self._families: dict[str, Family] = {}
        self._bandit = Bandit()
        self._latest: deque[float] = deque(maxlen=LATEST)

    def ask(self, view: View, rng: Random) -> Move:
        family = self._choose_family(rng)
        if family is None:
            return Move("sample")
        elites = view.archive.elites()
        operator = SURROGATE
        if len(self._operators.weights) > 1 and elites:
            operator = self._operators.choose(rng, most_parents=min(2, len(elites))) or SURROGATE
        if operator == SURROGATE:
            return self._surrogate(family, view, rng)
        needed = self._operators.parents[operator]
        parents = rng.sample(elites, max(1, min(needed, len(elites))))
        return Move(operator, tuple(parent.number for parent in parents))

    def tell(self, candidate: Candidate) -> None:
        self._operators.tell(candidate)
        kernel = candidate.kernel
        if kernel is None:
            return
        try:
            key, name = kernel.key, kernel.family
        except TunableError:  # its text cannot be parsed: nothing to vary
            return
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(candidate, kernel)
        family.tell(candidate, key)
        if candidate.evaluation is not None:
            self._bandit.tell(name, self._standing(candidate.objective))

    def _standing(self, objective: float | None) -> float:
        """0…1: the cube of its rank among the latest objectives, so that nothing but the top pays; 0 for a failure."""
        if objective is None:
            return 0.0
        below = sum(other < objective for other in self._latest)
        self._latest.append(objective)
        return ((below + 1) / len(self._latest)) ** 3

    def _choose_family(self, rng: Random) -> Family | None:
        """By the bandit, of those that have a kernel that works (of all, while none has)."""
        names = [name for name, family in self._families.items() if family.best] or list(self._families)
        if not names:
            return None
        return self._families[names[0] if len(names) == 1 else self._bandit.choose(names, rng)]

    def _surrogate(self, family: Family, view: View, rng: Random) -> Move:
        prospect = family.ready(view, self._settings)
        base = family.kernel
        key = prospect.ask(rng, lambda key: key not in family.numbers and not view.seen(base.with_key(key).id))
        if key is None:  # nothing that it knows of is left: systematically on, outwards from what is best
            best = family.best[rng.randrange(min(4, len(family.best)))][1] if family.best else None
            return Move("mutate_uniform", (family.first if best is None else family.numbers[best],))
        number, parent = family.parent(key)
        values = prospect.space.values(key)
        changed = {name: values[name] for name, a, b in zip(prospect.space.names, key, parent, strict=True) if a != b}
        return Move(SURROGATE, (number,), SetValues(changed))


def _sizes(settings: Mapping[str, int | float]) -> dict[str, Any]:
    """Raises ValueError for what is no number of `ProspectSettings`, or a fraction where a count is due."""
    known = {field.name: type(field.default) for field in fields(ProspectSettings) if field.name not in ("without", "initial")}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"there is no setting {name}, only {', '.join(known)}")
        if (known[name] is int and not isinstance(value, int)) or value < 0:
            wanted = "a count" if known[name] is int else "a number"
            raise ValueError(f"the setting {name} is {value!r}; {wanted} of at least 0 is expected")
    return dict(settings)
