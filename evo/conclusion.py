"""The end of a session: the best kernel's source, the summary, the picture."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

from evo.rundir import RunDir
from evo.session import Session
from evo.summary import Summary

__all__ = ["conclude", "drawn"]


def conclude(session: Session, folder: RunDir) -> Summary:
    """Writes the best kernel's source and sums the run up."""
    state, winner, stopped = session.state, session.winner, session.stopped
    assert stopped is not None
    source = None
    if winner is not None:
        source = folder.best(winner.kernel.language)
        folder.write(source, winner.kernel.source)
    message = ""
    trouble = session.engine.trips.trouble
    if stopped.value == "infrastructure" and trouble is not None:
        message = f"The evaluator kept failing: {trouble}\nNothing was held against the kernels. `evo doctor` says what this machine lacks."
    elif stopped.value == "models" and session.studio is not None and session.studio.desk is not None:
        message = f"The models kept failing: {session.studio.desk.failure}. Check the endpoint, then resume."
    elif winner is not None and session.certificate is not None and not session.certificate.ok:
        message = "None of the best kernels passed certification: believe the search's figures only after looking into why."
    speedup = None if winner is None else winner.speedup
    bounds = None if winner is None else [math.exp(bound) for bound in winner.interval]
    return Summary(
        run=folder.path.resolve().name,
        path=folder.path,
        stopped_by=stopped.value,
        evaluations=state.budget.spent.evaluations,
        proposals=state.finished,
        outcomes=dict(state.outcomes),
        duplicates=state.duplicates,
        best=None if winner is None else winner.number,
        kernel_id="" if winner is None else winner.kernel.id,
        speedup=speedup,
        interval=None if bounds is None else (bounds[0], bounds[1]),
        certificate=session.certificate,
        source=source,
        coverage=state.archive.coverage,
        cells=len(state.archive),
        seconds=state.budget.spent.seconds,
        message=message,
        resume="" if stopped.final else f"evo resume {shlex.quote(str(folder.path))}",
    )


def drawn(summary: Summary) -> Summary:
    """With the picture, when it can be drawn: a run that found something has not failed because nobody could draw it."""
    try:
        from evo.plots import run_picture

        return replace(summary, picture=run_picture(summary.path))
    except Exception as error:
        note = f"The picture could not be drawn: {type(error).__name__}: {error}"
        return replace(summary, message=f"{summary.message}\n{note}".strip())
