"""`auto`, the default strategy: a surrogate over the tunables of each family of kernels, and bandits over the rest.

**What it does.** Kernels of one text that differ in their tunables alone are a family. Every family has a Gaussian process over its
tunables (`evo.strategies.surrogate`), and the next configuration is the one that promises most (`evo.strategies.prospect`):

1. *spread*: the first 8 evaluations are far apart: of 24 random legal configurations the one farthest from all that is known.
2. *lengthscales*: the process is a product of exp(-|x - x'| / l) over tunables, by rank; strings are equal or not. The l of each
   tunable is fitted by marginal likelihood whenever there is a quarter more data, so that what does not matter stops to count.
3. *squash*: what works is drawn together by half below its median, for how bad the bad are says little of the best.
4. *feasibility*: a failure counts as the lowest tenth of what works, and the same process also says how probable one is: the
   acquisition is multiplied with P(works) ** 0.25 (no more than that, for the best often lie at the edge of what fails).
5. Expected improvement over the best posterior mean, which noise cannot flatter, is taken over a pool of at most 640 configurations:
   all *neighbours* (one tunable changed) of the three best, 12 random *samples* more after each evaluation, and mixtures
   (*crossover*) of the best with each other and with *elites* of other cells of the archive; the least promising give way. A space
   of at most 512 configurations is in the pool as a whole.
6. *restlessness*: after 30 evaluations (or a fifth of all) without an improvement the model may be to blame: one proposal in eight
   is then an untried neighbour of one of the best, or of another cell's elite, or far from everything.
7. What is in flight lowers what is close to it, so that builds at the same time are not all alike; nothing is proposed twice. When
   the surrogate knows of nothing new, the neighbourhoods of the best are gone through, outwards, to the end of the space.

Among families a discounted Thompson bandit chooses by the rank that their latest kernels had among all; where the config gives
weights for other `operators` (those of language models), another one shares the proposals out between them and the surrogate by
what entered the archive. A text that an operator brings forth is a family of its own from then on.

Nothing depends on the clock, and on chance only through `rng`: what the surrogate knows is a function of what was told in which
order, so a resume goes on with the same proposals. Proposals are `set_values` edits of the nearest of the family's 16 best.

**What it costs.** Posteriors are extended by rows (O(n² + n m) for n points and m pool members), not made anew. Engine, archive and
lineage included, 400 evaluations of a recorded space run at 590 to 720 per second on one core of a busy machine, 2000 at 500
(`python experiments/bench/autotune_evo.py --speed FILE`).

**Which part pays.** Mean of best/found after N evaluations over six recorded spaces (convolution on three devices, dedispersion on
two, one gemm), each row without one part; 6 seeds, with a standard error of about .025 at 25, .02 at 50, .015 at 100, .01 at 200:

    without         25    50   100   200
    (nothing)     .836  .900  .944  .990
    spread        .766  .861  .920  .986
    lengthscales  .792  .879  .969  .995
    squash        .801  .897  .938  .986
    neighbours    .816  .900  .936  .984
    samples       .827  .889  .948  .970
    restlessness  .836  .900  .950  .996
    feasibility   .836  .906  .948  .990
    elites        .834  .917  .966  .998
    crossover     .827  .905  .970  .998    (20 seeds: .823 .902 .959 .994, and .827 .908 .952 .992 with it: no difference)

So the first five pay there, and the others neither pay nor cost anything that can be told from noise. They are kept for what these
spaces do not have: crossover finds the optimum of 20 interacting booleans in 8 of 8 runs of 60 evaluations where some miss it
without; feasibility fails 20 instead of 23.5 times in 100 where half of a space fails, and a failed build costs more than a look-up;
elites and restlessness are insurance against a surrogate that is wrong. Neighbours and samples matter more elsewhere: in a space of
strings the optimum (5.0) is found in 40 evaluations, 4.4 without neighbours; under tight constraints samples give -.82 for -.95.
`python experiments/bench/autotune_evo.py --spaces … --contestants evo:auto-spread,… --seeds 6 --budget 200`; every run is in
`experiments/results/auto_ablation.csv`.

**Against others**, same spaces, 20 seeds, standard error in brackets; the second row takes the best of all optimizers of Kernel Tuner
1.5 at each budget, whichever it was there. All strategies here: `experiments/results/autotune_strategies.csv`.

                      25            50            100           200           400
    auto          .827 (.013)   .908 (.010)   .952 (.008)   .992 (.004)   1.000 (.000)
    Kernel Tuner  .744          .828          .917          .973           .994
    (its adaptive_tabu_greywolf, run beside)
                  .711 (.014)   .819 (.015)   .917 (.011)   .973 (.006)    .994 (.002)

**No fit to the six.** Sizes come from a coarse comparison of seven settings (initial 6, 8, 10; prior median 1.5, 2.5, 4; slope .5, .75,
1; neighbourhoods of 3 or 5), 10 other seeds each. Chosen without a kernel, then measured on it (25, 50, 100, 200): convolution .689
.789 .907 .986, dedispersion .956 .997 1 1, gemm .852 .911 .968 .994; over the six spaces .805 .879 .948 .992. Spaces of other kinds (30
dimensions, booleans, strings, tight constraints, half of it failing, noise) are in `tests/evo/test_strategies_prospect.py`: there it
finds more than chance does in four times as many evaluations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import AddStatus, Candidate, SetValues
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
        self.told: list[tuple[Key, float | None, bool]] = []
        """Key, objective, whether it took a cell."""
        self.prospect: Prospect | None = None
        self._fed = 0

    def tell(self, candidate: Candidate, key: Key) -> None:
        evaluation = candidate.evaluation
        if evaluation is None or evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR or key in self.numbers:
            return
        self.numbers[key] = candidate.number
        objective = evaluation.objective if evaluation.ok else None
        self.told.append((key, objective, candidate.status in (AddStatus.NEW, AddStatus.IMPROVE)))
        if objective is not None:
            self.best.append((objective, key))
            self.best.sort(key=lambda entry: (-entry[0], self.numbers[entry[1]]))
            del self.best[PARENTS:]

    def ready(self, view: View, settings: ProspectSettings) -> Prospect:
        """The prospect, told everything. It is a function of what was told in which order, not of when it is asked for."""
        if self.prospect is None:
            self.prospect = Prospect(view.space(self.kernel), settings)
        for key, objective, elite in self.told[self._fed :]:
            self.prospect.tell(key, objective, elite=elite)
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
        operators: further operators (those of models, say) with their weights; the surrogate's own weight is 1 unless
            `set_values` is among them. None: the surrogate alone.
    """

    def __init__(
        self,
        *,
        initial: Annotated[int, Field(ge=2)] = 8,
        without: list[str] | None = None,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        unknown = set(without or ()) - set(PARTS)
        if unknown:
            raise ValueError(f"there is no part {', '.join(sorted(unknown))} to leave out, only {', '.join(PARTS)}")
        self._settings = ProspectSettings(initial=initial, without=frozenset(without or ()))
        self._operators = OperatorChoice({SURROGATE: 1.0, **(operators or {})}, adaptive=True)
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
