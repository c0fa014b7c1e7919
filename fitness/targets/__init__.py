"""Targets: a toolchain and a device each."""

from fitness.targets.registry import open_target, target_names

__all__ = ["open_target", "target_names"]
