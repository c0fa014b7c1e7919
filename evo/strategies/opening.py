"""The strategy of a config, with what is wrapped around it."""

from __future__ import annotations

from evo.config import Config
from evo.strategies.base import Strategy
from evo.strategies.registry import create_strategy

__all__ = ["open_strategy"]


def open_strategy(config: Config) -> Strategy:
    """A new strategy; with a schedule of operators and repairs by a model where the config asks for them.

    Raises:
        UserError: as `create_strategy`.
    """
    strategy = create_strategy(config.strategy.name, config.strategy.parameters, config.operators)
    if config.llm.schedule != "strategy" and config.operators:
        from evo.strategies.scheduled import with_schedule

        strategy = with_schedule(strategy, config.operators, config.llm.schedule, credit=config.llm.credit)
    repairable = {name for name, weight in (config.operators or {}).items() if name.startswith("llm_") and weight > 0}
    if config.llm.repair and repairable:
        from evo.strategies.repairing import with_repair

        strategy = with_repair(strategy, config.llm.repair, operators=repairable)
    return strategy
