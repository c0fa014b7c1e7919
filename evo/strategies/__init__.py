"""Strategies: who chooses parents and operator. `create_strategy` makes one by name."""

from __future__ import annotations

__all__: list[str] = []
