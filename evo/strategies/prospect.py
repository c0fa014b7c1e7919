"""Where in the space of one kernel's tunables to look next: the surrogate, its data, its pool, and what to do without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import numpy as np

from archive.recorded import RecordedSpace
from archive.space import Key, Space
from archive.values import EmptySpaceError
from evo.strategies.encoding import Encoding
from evo.strategies.surrogate import Floats, Posterior, log_expected_improvement

__all__ = ["PARTS", "Prospect", "ProspectSettings"]

PARTS = ("spread", "squash", "lengthscales", "neighbours", "samples")
"""What can be left out for an ablation."""
WIDE = 12
"""Tunables from which on lengthscales are expected to be longer, and more points are needed to fit them."""
COUNTABLE = 20_000
"""Combinations up to which legal ones are counted."""
BEST = 16
"""The best keys that are remembered."""


@dataclass(frozen=True, slots=True)
class ProspectSettings:
    """Sizes; chosen by leaving kernels out (see `evo.strategies.auto`)."""

    initial: int = 8
    """Evaluations spread over the space before the surrogate is asked."""
    around: int = 3
    """Of the best points so many have all their neighbours in the pool."""
    samples: int = 12
    """Random configurations that join the pool per evaluation."""
    pool: int = 512
    """Members kept, the most promising ones."""
    most_points: int = 448
    """Data kept: when there is more, the best half of it and the latest."""
    tuned_on: int = 80
    """Points that lengthscales are fitted to."""
    growth: float = 1.25
    """Factor between the numbers of points at which they are fitted again."""
    squash: float = 0.5
    """Slope of what the surrogate sees below the median."""
    typical: float = 2.5
    """Prior median of lengthscales, where there are up to `WIDE` tunables."""
    failed: float = 0.1
    """Quantile of the working objectives that stands for a failure."""
    without: frozenset[str] = field(default_factory=frozenset)


class Prospect:
    """What was found in one space, and what to try next. A function of the calls of `tell`; `ask` changes nothing.

    Args:
        space: of the kernel, as the evaluator knows it.
    """

    def __init__(self, space: Space, settings: ProspectSettings) -> None:
        self.space = space
        self._settings = settings
        self._encoding = Encoding(space)
        self._known: dict[Key, float | None] = {}
        """Every key that is settled: its objective, None for a failure."""
        self._keys: list[Key] = []
        """The posterior's data."""
        self._values: list[float] = []
        """Their objectives; NaN for failures."""
        self._best: list[tuple[float, Key]] = []
        """The best keys, best first."""
        self._surrounded: set[Key] = set()
        self._pool: list[Key] = []
        self._place: dict[Key, int] = {}
        wide = max(1.0, len(self._encoding.free) / WIDE)
        self._tuned_on = round(settings.tuned_on * wide)
        self._posterior = Posterior(self._encoding.groups, typical=settings.typical * wide, pool=settings.pool + 256)
        self._tune_at = settings.initial
        # Counting a large constrained space takes seconds; a recorded one knows its size.
        countable = space.product <= COUNTABLE or isinstance(space, RecordedSpace)
        self._small = countable and space.size is not None and space.size <= settings.pool
        self._scores: Floats | None = None

    # ── what came of it ──

    @property
    def evaluations(self) -> int:
        return len(self._known)

    def tell(self, key: Key, objective: float | None) -> None:
        """The objective of a key; None: it failed. What is told again counts no more."""
        if key in self._known:
            return
        self._known[key] = objective
        if not self._encoding.free:
            return
        self._scores = None
        self._leave_pool(key)
        self._keys.append(key)
        self._values.append(math.nan if objective is None else objective)
        self._posterior.add_point(self._encoding.points([key])[0])
        if objective is not None:
            self._best.append((objective, key))
            self._best.sort(key=lambda entry: -entry[0])
            del self._best[BEST:]
        if len(self._keys) > self._settings.most_points:
            self._thin()
        if self.modelled:
            if len(self._known) >= self._tune_at:
                self._tune()
            self._stock(Random(f"{len(self._known)} {key}"))

    @property
    def modelled(self) -> bool:
        """Whether the surrogate has enough to go by."""
        return len(self._known) >= self._settings.initial and len(self._best) >= 3

    def _thin(self) -> None:
        """Keeps the best half and the latest quarter of the data that there is room for."""
        room = self._settings.most_points
        values = np.array(self._values)
        order = np.argsort(np.where(np.isnan(values), -math.inf, values))
        kept = sorted({*order[-room // 2 :].tolist(), *range(len(values) - room // 4, len(values))})
        self._keys = [self._keys[i] for i in kept]
        self._values = [self._values[i] for i in kept]
        self._posterior.replace_points(self._encoding.points(self._keys))

    def _tune(self) -> None:
        self._tune_at = int(len(self._known) * self._settings.growth) + 1
        if "lengthscales" in self._settings.without:
            return
        targets = self._targets()
        count, most = len(targets), self._tuned_on
        if count > most:
            order = np.argsort(-targets, kind="stable")
            rest = np.sort(order[most // 2 :])
            spread = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(np.intp)]
            chosen = np.concatenate([order[: most // 2], spread])
        else:
            chosen = np.arange(count)
        self._posterior.tune(targets, chosen, steps=12)
        self._posterior.refresh()

    def _targets(self) -> Floats:
        """(n,) what the surrogate sees of the objectives, centred."""
        values = np.array(self._values)
        failed = np.isnan(values)
        good = np.sort(values[~failed])
        seen = np.where(failed, good[int(self._settings.failed * (len(good) - 1))], values)
        middle = float(good[len(good) // 2])
        if "squash" not in self._settings.without:
            seen = np.where(seen < middle, middle + self._settings.squash * (seen - middle), seen)
        centred: Floats = seen - seen.mean()
        return centred

    # ── the pool ──

    def _stock(self, rng: Random) -> None:
        """Takes in neighbours of the best and random configurations; throws out the least promising."""
        settings = self._settings
        if self._small:
            if not self._pool and len(self._known) < (self.space.size or 0):
                self._enter_pool(self.space.keys())
            return
        entering: list[Key] = []
        if "neighbours" not in settings.without:
            for _, key in self._best[: settings.around]:
                if key not in self._surrounded:
                    self._surrounded.add(key)
                    entering += self._around(key, rng)
        if "samples" not in settings.without:
            wanted = settings.samples if len(self._pool) > settings.pool // 2 else settings.pool // 2
            entering += self._samples(rng, wanted)
        self._enter_pool(entering)
        if len(self._pool) > settings.pool + settings.pool // 4:
            self._shrink()

    def _samples(self, rng: Random, count: int) -> list[Key]:
        """Random legal keys; none where the constraints are too tight to find any by chance."""
        try:
            return [self.space.sample_key(rng) for _ in range(count)]
        except EmptySpaceError:
            return []

    def _around(self, key: Key, rng: Random, most: int = 160) -> list[Key]:
        near = self.space.neighbour_keys(key, "any")
        return near if len(near) <= most else rng.sample(near, most)

    def _enter_pool(self, keys: Iterable[Key]) -> None:
        fresh = [key for key in dict.fromkeys(keys) if key not in self._known and key not in self._place]
        if not fresh:
            return
        self._place.update((key, len(self._pool) + i) for i, key in enumerate(fresh))
        self._pool += fresh
        self._posterior.add_members(self._encoding.points(fresh))

    def _leave_pool(self, key: Key) -> None:
        place = self._place.pop(key, None)
        if place is None:
            return
        last = self._pool.pop()
        if last != key:
            self._pool[place] = last
            self._place[last] = place
        self._posterior.drop_member(place)

    def _shrink(self) -> None:
        kept = np.sort(np.argsort(-self._score(), kind="stable")[: self._settings.pool])
        self._pool = [self._pool[i] for i in kept.tolist()]
        self._place = {key: i for i, key in enumerate(self._pool)}
        self._posterior.keep_members(kept)
        self._scores = None

    # ── what next ──

    def ask(self, rng: Random, fresh: Callable[[Key], bool]) -> Key | None:
        """A key that is `fresh` (not proposed before, nor in flight); None when it knows none."""
        if not self._encoding.free:
            return None
        if not self.modelled:
            return self._spread(rng, fresh)
        if not self._pool:
            return None
        if self._scores is None:
            self._scores = self._score()
        scores = self._scores
        taken = False
        for _ in range(len(self._pool)):
            place = int(scores.argmax())
            if scores[place] == -math.inf:
                return None
            if fresh(self._pool[place]):
                return self._pool[place]
            # In flight: what is close to it will be known soon.
            near = self._posterior.covariance_with_members(place)
            if not taken:
                scores, taken = scores.copy(), True
            scores += np.log(np.maximum(1e-3, 1.0 - near))
            scores[place] = -math.inf
        return None

    def _score(self) -> Floats:
        """(pool,) log of the expected improvement."""
        means, deviations, smoothed = self._posterior.predict(self._targets())
        return log_expected_improvement(means, deviations, float(smoothed[~np.isnan(self._values)].max()))

    def _spread(self, rng: Random, fresh: Callable[[Key], bool], draws: int = 24) -> Key | None:
        """Of some random configurations the one farthest from all that is known."""
        drawn = [key for key in dict.fromkeys(self._samples(rng, draws)) if key not in self._known and fresh(key)]
        if not drawn or not self._keys or "spread" in self._settings.without:
            return drawn[0] if drawn else None
        points = self._encoding.points(drawn)
        apart = np.abs(points[:, None] - self._posterior.points[None]).sum(axis=2).min(axis=1)
        return drawn[int(apart.argmax())]
