"""Samplers of Optuna (T. Akiba et al., KDD 2019), where it is installed: `pip install evo-kernels[optuna]`.

A configuration is a trial whose parameters are indices into the tunables' domains; what breaks a constraint goes to the nearest
legal configuration, and a failure counts as worse than all that works.
"""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from archive.candidate import Candidate, SetValues
from archive.kernel import Kernel
from archive.space import Key, Space
from archive.values import TunableError, kind_of
from evo.errors import UserError
from evo.strategies.base import Move, Strategy
from operators.base import View

__all__ = ["OptunaStrategy"]

DRAWS = 8
"""Proposals of the sampler that may be known already before a neighbour of the last one is taken."""


class OptunaStrategy(Strategy):
    """Optuna decides what to evaluate next in the space of a seed; of several seeds each has a study, and they take turns at random.

    Args:
        sampler: `tpe` (tree-structured Parzen estimator), `tpe_multivariate`, or `random`.
        startup: evaluated candidates of a space before TPE uses its model.

    Raises:
        UserError: Optuna is not installed.
    """

    not_adaptive = "Optuna's sampler decides which values are tried, and its one operator, `set_values`, carries that out"

    def __init__(self, *, sampler: Literal["tpe", "tpe_multivariate", "random"] = "tpe", startup: int = 10) -> None:
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                "The strategy `optuna` needs Optuna, which is not installed.",
                key="strategy.name",
                found="optuna",
                remedy="Run `pip install 'evo-kernels[optuna]'`, or choose another strategy.",
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sampler, self._startup = sampler, startup
        self._told: dict[str, list[tuple[Key, float | None]]] = {}
        self._numbers: dict[str, dict[Key, int]] = {}
        self._studies: dict[str, Study] = {}

    def ask(self, view: View, rng: Random) -> Move:
        seeds = [seed for seed in view.seeds if seed.ok] or list(view.seeds)
        seed = seeds[rng.randrange(len(seeds))]
        kernel = seed.kernel
        assert kernel is not None  # a seed is a kernel
        try:
            free = any(len(domain) > 1 for domain in kernel.space.domains)
        except TunableError:
            free = False
        if not free:
            return Move("mutate_uniform", (seed.number,))
        family = kernel.family
        study = self._studies.get(family)
        if study is None:
            study = self._studies[family] = Study(view.space(kernel))
        study.feed(self._told.get(family, []))
        key: Key | None = None
        for _ in range(DRAWS):
            key = study.draw(self._make(rng.getrandbits(32)), kernel)
            if key is not None and not view.seen(kernel.with_key(key).id):
                values, old = study.space.values(key), kernel.values
                return Move("set_values", (seed.number,), SetValues({name: v for name, v in values.items() if v != old[name]}))
        number = self._numbers.get(family, {}).get(key or kernel.key, seed.number)
        return Move("mutate_neighbour", (number,))

    def tell(self, candidate: Candidate) -> None:
        if candidate.kernel is None or candidate.evaluation is None:
            return
        try:
            family, key = candidate.kernel.family, candidate.kernel.key
        except TunableError:
            return
        self._told.setdefault(family, []).append((key, candidate.objective if candidate.ok else None))
        self._numbers.setdefault(family, {}).setdefault(key, candidate.number)

    def _make(self, seed: int) -> Any:
        import warnings

        from optuna.samplers import RandomSampler, TPESampler

        if self._sampler == "random":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` is called experimental
            return TPESampler(seed=seed, multivariate=self._sampler == "tpe_multivariate", n_startup_trials=self._startup)


class Study:
    """What Optuna knows of one space."""

    def __init__(self, space: Space) -> None:
        import optuna
        from optuna.distributions import CategoricalDistribution, IntDistribution

        self.space = space
        self._study = optuna.create_study(direction="maximize")
        self._distributions: dict[str, Any] = {
            name: CategoricalDistribution(range(len(domain)))
            if kind_of(domain[0]) in ("bool", "string")
            else IntDistribution(0, len(domain) - 1)
            for name, domain in zip(space.names, space.domains, strict=True)
            if len(domain) > 1
        }
        self._fed = 0
        self._worst = 0.0

    def feed(self, told: list[tuple[Key, float | None]]) -> None:
        from optuna.trial import create_trial

        for key, objective in told[self._fed :]:
            indices = dict(zip(self.space.names, key, strict=True))
            self._worst = min(self._worst, objective if objective is not None else self._worst)
            self._study.add_trial(
                create_trial(
                    params={name: indices[name] for name in self._distributions},
                    distributions=self._distributions,
                    value=objective if objective is not None else self._worst - 1.0,
                )
            )
        self._fed = len(told)

    def draw(self, sampler: Any, kernel: Kernel) -> Key | None:
        """A legal key near what the sampler wants; its trial is withdrawn at once, so that asking leaves no trace in the model."""
        from optuna.trial import TrialState

        self._study.sampler = sampler
        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=TrialState.FAIL)
        key = tuple(
            trial.params[name] if name in self._distributions else index for name, index in zip(self.space.names, kernel.key, strict=True)
        )
        return key if self.space.legal_key(key) else self.space.nearest_key(key)
