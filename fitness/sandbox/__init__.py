"""Confinement of everything we do not trust: runners, and the compilers that read their source."""

from fitness.sandbox.base import Sandbox, SandboxError
from fitness.sandbox.completed import Completed, Limits
from fitness.sandbox.levels import LEVELS, available, choose

__all__ = ["LEVELS", "Completed", "Limits", "Sandbox", "SandboxError", "available", "choose"]
