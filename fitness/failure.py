"""Why a runner's work came to nothing: the outcome and the finding behind it, established by the referee alone."""

from __future__ import annotations

from archive.evaluation import Diagnostic, Outcome

__all__ = ["RefereeError", "RunnerFailure"]


class RunnerFailure(Exception):
    """The program in a runner failed or was refused; says nothing about other runners. The runner is dead when this is raised.

    `outcome` is one of `rejected`, `crash`, `timeout`, `out_of_memory`, `infrastructure_error`.
    """

    def __init__(self, outcome: Outcome, diagnostic: Diagnostic) -> None:
        super().__init__(f"{outcome}: {diagnostic.reason}: {diagnostic.message}")
        self.outcome = outcome
        self.diagnostic = diagnostic


class RefereeError(Exception):
    """The referee itself cannot work (no zygote, no shared memory). The message says what to do."""
