"""`auto`, the default strategy: a surrogate over the tunables of each family of kernels, and bandits over the rest.

**What it does.** Kernels of one text that differ in their tunables alone are a family. Every family has a Gaussian process over its
tunables (`evo.strategies.surrogate`), and the next configuration is the one that promises most (`evo.strategies.prospect`):

1. *spread*: the first 8 evaluations are far apart: of 24 random legal configurations the one farthest from all that is known.
2. *lengthscales*: the process is a product of exp(-|x - x'| / l) over tunables, by rank; strings are equal or not. The l of each
   tunable is fitted by marginal likelihood whenever there is a quarter more data, so that what does not matter stops to count.
3. *squash*: what works is drawn together by half below its median, for how bad the bad are says little of the best. A failure counts
   as the lowest tenth of what works.
4. Expected improvement over the best posterior mean, which noise cannot flatter, is taken over a pool of at most 640 configurations:
   all *neighbours* (one tunable changed) of the three best, and 12 random *samples* more after each evaluation; the least promising
   give way. A space of at most 512 configurations is in the pool as a whole.
5. What is in flight lowers what is close to it, so that builds at the same time are not all alike; nothing is proposed twice. When
   the surrogate knows of nothing new, the neighbourhoods of the best are gone through, outwards, to the end of the space.

Among families a discounted Thompson bandit chooses by the rank that their latest kernels had among all; where the config gives
weights for other `operators` (those of language models), another one shares the proposals out between them and the surrogate by
what entered the archive. A text that an operator brings forth is a family of its own from then on.

Nothing depends on the clock, and on chance only through `rng`: what the surrogate knows is a function of what was told in which
order, so a resume goes on with the same proposals. Proposals are `set_values` edits of the nearest of the family's 16 best.

**What it costs.** Posteriors are extended by rows (O(n² + n m) for n points and m pool members), not made anew. Engine, archive and
lineage included, 400 evaluations of a recorded space take .45 s of one core (`experiments/results/strategies_gpu_spaces.md`).

**Which part pays.** Mean of best/found after N evaluations over six recorded spaces (convolution on three devices, dedispersion on
two, one gemm), each row without one part: fresh seeds, 10 to 20 for each space; in brackets the standard error of the difference to
the first row. At the right the same over seven CPU spaces of other kernels (`experiments/recorded`), on which nothing was ever
chosen; they are so small that all of them is in the pool.

    without          25          50          100         200           25          50          100
    (nothing)     .793        .908        .970        .994          .959        .982        .994
    spread        .825 (.031) .918 (.014) .969 (.008) .990 (.005)   .950 (.007) .978 (.004) .995 (.002)
    lengthscales  .775 (.019) .870 (.017) .960 (.009) .989 (.004)   .955 (.005) .976 (.004) .992 (.002)
    squash        .771 (.025) .893 (.013) .959 (.010) .995 (.003)   .956 (.005) .985 (.002) .993 (.002)
    neighbours    .767 (.018) .849 (.014) .928 (.013) .963 (.008)
    samples       .791 (.019) .900 (.012) .946 (.011) .963 (.010)
    (random)                                                        .903 (.008) .938 (.006) .962 (.003)

Neighbours, samples and lengthscales pay by more than two standard errors. Spread and squash act early, on spaces too large for the
pool, and too little for so few seeds. Sixty more on the six, 50 evaluations each, differences seed by seed; and all four ablations that
were made of these two parts (6, 10, 10 and these 60 seeds) weighed by their variances:

    without          25           50           25, all four
    spread       -.016 (.011) -.004 (.009)    -.019 (.009)
    squash       -.019 (.007) +.000 (.007)    -.020 (.007)

At 50 and beyond neither matters, and on the seven CPU spaces (20 fresh seeds) not at 25 either: .960 (.003), without them .960 and .958.
On synthetic spaces, 20 seeds each: of 20 booleans the best found after 60 evaluations is 15.2, 13.6 without neighbours; under tight
constraints -.83, -1.09 without samples.

Four parts of an earlier version went, because together they lost .021 (.008) at 100 evaluations on the six and gained no more than
.002 (.001) on the seven: mixtures of the best, which took the pool's room (crossover), elites of other cells of the archive among
them, a model of what fails in the acquisition (feasibility), and random steps after long without an improvement (restlessness).

    (with them)   .792 (.001) .899 (.010) .949 (.008) .985 (.007)   .959 (.000) .983 (.001) .996 (.001)

Feasibility saved 0.8 (1.3) failures in 100 where half of a space fails, and lost 0.9 (1.4) where failing depends on three tunables.

**Against others.** The six spaces, 20 seeds that nothing was chosen by, standard error in brackets; the second row takes the best of
all optimizers of Kernel Tuner 1.5 at each budget, whichever it was there.

                      25            50            100           200           400
    auto          .812 (.013)   .892 (.010)   .952 (.008)   .989 (.004)   .998 (.001)
    Kernel Tuner  .744          .828          .917          .973           .994
    (its adaptive_tabu_greywolf, run beside)
                  .711 (.014)   .819 (.015)   .917 (.011)   .973 (.006)    .994 (.002)

**No fit to the six?** What was tried on them, all told: 45 settings of sizes in five rounds (seeds of their own each: 13 single
changes of the first guess, 5 on convolution alone, 11, 8 and 7), 9 ablations, and in the last round 18 variants without one or
several parts. Two cross-validations, each choosing without a kernel and measuring on it (25, 50, 100, 200): of the last seven
settings .805 .879 .948 .992; of the eight variants that were measured on all six .783 .903 .969 .993, where the choice made with
everything in sight has +.010 +.005 +.001 +.001 more. Spaces of other kinds (30 dimensions, booleans, strings, tight constraints, half
of it failing, noise) are in `tests/evo/test_strategies_prospect.py`: there it finds more than chance does in four times as many
evaluations.

Runs are in `experiments/results/auto_ablation.csv` (`python experiments/bench/autotune_evo.py --spaces … --contestants
evo:auto,evo:auto-spread,… --first-seed 100 --seeds 10 --budget 200`; for spread and squash from seeds 300, 400 and, on the CPU spaces,
2000 on; those with parts that are gone were made at commit 8cf4fbc) and `experiments/results/autotune_strategies.csv` (`--contestants
evo:auto --first-seed 200 --seeds 20 --budget 400`).
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
