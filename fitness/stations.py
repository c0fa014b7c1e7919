"""What every device's station offers, for the cascade (`fitness.measuring`), timing and certification to work on.

Two devices' stations differ in what a case is and how a batch of them is timed; what is asked of them does not. A station that lacks
something of this is found by the type checker, not by the first kernel that is measured on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

from fitness.canary import Reading
from fitness.problem import Problem, Sizes
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Target

__all__ = ["AnyCanary", "AnyPool", "AnyReferee", "AnySitting", "AnyStation", "AnySupply"]


class AnySitting(Protocol):
    """Lanes measured together. A context manager: leaving it ends every untrusted runner."""

    @property
    def cost(self) -> Mapping[str, float]:
        """Seconds and counts by what they were spent on."""

    def __enter__(self) -> Any: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...
    def seat(self, name: str, program: Program, *, trusted: bool = False, judged: bool = True) -> Any:
        """A new lane. Raises `Refused`."""

    def lane(self, name: str) -> Any: ...
    def call(self, lane: Any, case: Any, /) -> Any:
        """One checked call. Raises `Refused`."""

    def twice(self, lane: Any, case: Any, /) -> Any:
        """Two checked calls on one case. Raises `Refused`."""

    def round(self, cases: Iterator[Any], /, *, without: Collection[str] = ()) -> tuple[Any, Mapping[str, float]]:
        """Seconds of every lane on the next case. Raises `Refused`, StopIteration."""

    @property
    def exchanges(self) -> bool:
        """Whether lanes have memory of their own, which they can exchange, and runners that see each case once."""

    @property
    def only_longer(self) -> bool:
        """Of its times: `Samples.only_longer`."""

    def exchange(self, *names: str) -> None:
        """Has lanes exchange it, in new runners. Raises `Refused`."""

    def conclude(self) -> None:
        """The last looks, before times are believed. Raises `Refused`."""


class AnySupply(Protocol):
    """Secret cases."""

    @property
    def memory(self) -> int:
        """Bytes that timed cases may take."""

    @property
    def timed_distribution(self) -> str: ...
    def timed(self, sizes: Sizes, index: int, /) -> Any:
        """What `AnySitting.round` and `.call` take."""

    def drawn(self, sizes: Sizes, distribution: str, index: int) -> Any: ...
    def verification(self, sizes: Sizes, distributions: Any = ..., draws: int = ...) -> Iterator[Any]: ...
    def forget(self, case: Any) -> None: ...
    def clear(self) -> None: ...


class AnyPool(Protocol):
    """Shared memory, kept between candidates."""

    def deal(self, sizes: Sizes, lanes: int) -> None: ...


class AnyCanary(Protocol):
    def read(self) -> Reading: ...


class AnyReferee(Protocol):
    @property
    def protocol(self) -> Any:
        """What the protocol itself costs a call."""


class AnyStation(Protocol):
    """Everything one device needs to measure one problem."""

    @property
    def problem(self) -> Problem: ...
    @property
    def target(self) -> Target: ...
    @property
    def settings(self) -> EvaluationSettings: ...
    @property
    def supply(self) -> AnySupply: ...
    @property
    def pool(self) -> AnyPool: ...
    @property
    def canary(self) -> AnyCanary: ...
    @property
    def referee(self) -> AnyReferee: ...
    @property
    def mover(self) -> Any: ...
    def warm(self) -> None: ...
    def close(self) -> None: ...
    def sitting(self) -> AnySitting: ...
    def seat_baseline(self, sitting: Any) -> None: ...
    def dismiss_baseline(self) -> None: ...
    def libraries(self) -> dict[str, Program]: ...
    def timed_cases(self, sizes: Sizes) -> Iterator[Any]: ...
    def fresh_supply(self) -> AnySupply: ...
    def raise_ceilings(self) -> None: ...
    def floor(self, sizes: Sizes) -> float: ...
    def roof(self, sizes: Sizes) -> float: ...
    @property
    def only_longer(self) -> bool: ...
    @property
    def spacing(self) -> float: ...

    def ceilings_of(self, sizes: Sizes, moved: Mapping[str, float]) -> Mapping[str, float]: ...
