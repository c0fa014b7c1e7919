"""Strategies by name: those of this package, those in a file of the user's own (`FILE.py:CLASS`), and third-party ones from the
entry-point group `evo.strategies`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_type_hints

from evo.errors import UserError
from evo.strategies.base import Strategy

__all__ = ["GROUP", "create_strategy", "strategy_class", "strategy_names"]

GROUP = "evo.strategies"
BUILT_IN = {
    "annealing": ("evo.strategies.annealing", "Annealing"),
    "auto": ("evo.strategies.auto", "Auto"),
    "beam": ("evo.strategies.beam", "Beam"),
    "best_of_n": ("evo.strategies.best_of_n", "BestOfN"),
    "cvt_map_elites": ("evo.strategies.cvt_map_elites", "CVTMapElites"),
    "differential_evolution": ("evo.strategies.differential_evolution", "DifferentialEvolution"),
    "genetic": ("evo.strategies.genetic", "Genetic"),
    "greedy": ("evo.strategies.greedy", "Greedy"),
    "islands": ("evo.strategies.islands", "Islands"),
    "iterated_local_search": ("evo.strategies.iterated_local_search", "IteratedLocalSearch"),
    "map_elites": ("evo.strategies.map_elites", "MapElites"),
    "mcts": ("evo.strategies.mcts", "MCTS"),
    "novelty": ("evo.strategies.novelty", "Novelty"),
    "nsga2": ("evo.strategies.nsga2", "NSGA2"),
    "optuna": ("evo.strategies.optuna", "OptunaStrategy"),
    "random": ("evo.strategies.random", "RandomStrategy"),
}


def strategy_names() -> list[str]:
    """Every name that `strategy_class` knows, sorted."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def strategy_class(name: str) -> type[Strategy]:
    """The class of strategy `name`.

    Raises:
        UserError: there is none, or the plugin that offers it cannot be loaded.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        found: object = getattr(importlib.import_module(module), attribute)
    elif ".py:" in name:
        found = _from_file(name)
    else:
        points = tuple(entry_points(group=GROUP, name=name))
        if not points:
            close = difflib.get_close_matches(name, strategy_names(), n=1)
            raise UserError(
                f"There is no strategy `{name}`.",
                key="strategy.name",
                found=name,
                expected="one of " + ", ".join(strategy_names()),
                remedy=f"Did you mean `{close[0]}`?" if close else "Choose one of these, or install the package that offers it.",
            )
        try:
            found = points[0].load()
        except Exception as error:
            raise UserError(
                f"The strategy `{name}` cannot be loaded: {error}",
                key="strategy.name",
                found=points[0].value,
                remedy="Repair or remove the package that offers it.",
            ) from error
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise UserError(
            f"The strategy `{name}` is not a Strategy.", key="strategy.name", found=repr(found), expected="a subclass of evo.Strategy"
        )
    return found


def _from_file(reference: str) -> object:
    """`FILE.py:CLASS` as that class. The file is loaded once in each process.

    Raises:
        UserError: there is no such file or class, or the file cannot be executed.
    """
    file, _, attribute = reference.rpartition(":")
    path = Path(file).expanduser().resolve()
    module_name = f"evo_strategy_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UserError(
                "There is no such strategy file.", key="strategy.name", file=path, found="no Python file", expected="FILE.py:CLASS"
            )
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UserError(
                f"The strategy's file cannot be executed: {type(error).__name__}: {error}.", key="strategy.name", file=path,
                line=getattr(error, "lineno", None), remedy="Repair it.",
            ) from error  # fmt: skip
    if not hasattr(module, attribute):
        classes = [name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module_name]
        raise UserError(
            f"There is no `{attribute}` in the strategy's file.", key="strategy.name", file=path, found=", ".join(classes) or "no class",
            expected="FILE.py:CLASS",
        )  # fmt: skip
    return getattr(module, attribute)


def create_strategy(name: str, parameters: Mapping[str, Any], operators: Mapping[str, float] | None = None) -> Strategy:
    """A new strategy with its parameters checked against the types of its constructor.

    Args:
        parameters: the keys beside `name` in the config's `strategy` section.
        operators: weights by operator, for strategies that take them; None leaves the strategy its own.

    Raises:
        UserError: unknown strategy, unknown parameter, a value of the wrong type or range.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    kind = strategy_class(name)
    signature = inspect.signature(kind)
    hints = get_type_hints(kind.__init__, include_extras=True)
    known = {p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default) for p in signature.parameters.values()}
    takes_operators = known.pop("operators", None) is not None
    if "adaptive" in parameters and "adaptive" not in known and kind.not_adaptive:
        raise UserError(
            f"The strategy `{name}` cannot choose its operators by their success: {kind.not_adaptive}.",
            key="strategy.adaptive",
            found=repr(parameters["adaptive"]),
            expected="no `adaptive`",
            remedy=f"Remove it, or choose a strategy with several operators: {', '.join(_adaptive_names())}.",
        )
    for unknown in parameters.keys() - known.keys():
        close = difflib.get_close_matches(unknown, list(known), n=1, cutoff=0.5)
        raise UserError(
            f"The strategy `{name}` has no parameter `{unknown}`.",
            key=f"strategy.{unknown}",
            found=repr(parameters[unknown]),
            expected="one of " + ", ".join(known) if known else "no parameters",
            remedy=f"Did you mean `{close[0]}`?" if close else "Remove it.",
        )
    if operators is not None and not takes_operators:
        raise UserError(
            f"The strategy `{name}` chooses its operators itself.",
            key="operators",
            found=", ".join(operators),
            expected="no weights",
            remedy="Remove the `operators` section.",
        )
    fields: dict[str, Any] = known
    checked = create_model(f"{kind.__name__}Parameters", __config__=ConfigDict(strict=True, extra="forbid"), **fields)
    try:
        values = checked(**parameters)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"The strategy `{name}` cannot have this `{key}`: {first['msg']}.", key=f"strategy.{key}", found=repr(first.get("input"))
        ) from error
    arguments = {field: getattr(values, field) for field in known}
    try:
        return kind(**arguments, **({"operators": operators} if takes_operators else {}))
    except ValueError as error:
        raise UserError(
            f"The strategy `{name}` cannot be made of these parameters: {error}.", key="strategy", found=repr(dict(parameters))
        ) from error


def _adaptive_names() -> list[str]:
    """The strategies of this package that take `adaptive`."""
    return [name for name in sorted(BUILT_IN) if "adaptive" in inspect.signature(strategy_class(name)).parameters]
