"""The tile size that a kernel's tunables state: a fact every target puts into its profile."""

from __future__ import annotations

from collections.abc import Mapping

from archive.tunables import Value

__all__ = ["tile_elements"]


def tile_elements(values: Mapping[str, Value]) -> int:
    """Product of the positive integer values of tunables named TILE* or BLOCK* (any case); 1 without any."""
    product = 1
    for name, value in values.items():
        if type(value) is int and value > 0 and name.upper().startswith(("TILE", "BLOCK")):
            product *= value
    return product
