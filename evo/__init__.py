"""evo: evolutionary search for fast kernels.

The public face. Names are imported when first used (PEP 562), so that `import evo` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archive.axes import Bins as Bins
    from archive.axes import Categorical as Categorical
    from archive.axes import Log2 as Log2
    from archive.candidate import AddStatus as AddStatus
    from archive.candidate import Candidate as Candidate
    from archive.candidate import Draft as Draft
    from archive.candidate import Proposal as Proposal
    from archive.candidate import Repair as Repair
    from archive.candidate import SetValues as SetValues
    from archive.candidate import VisitCell as VisitCell
    from archive.descriptors import Descriptors as Descriptors
    from archive.evaluation import Diagnostic as Diagnostic
    from archive.evaluation import Evaluation as Evaluation
    from archive.evaluation import Outcome as Outcome
    from archive.evaluation import Samples as Samples
    from archive.grid import GridArchive as GridArchive
    from archive.kernel import Kernel as Kernel
    from archive.lineage import Lineage as Lineage
    from archive.space import Space as Space
    from archive.tunables import Tunable as Tunable
    from archive.values import TunableError as TunableError
    from evo.config import Config as Config
    from evo.config import load_config as load_config
    from evo.config import parse_config as parse_config
    from evo.errors import UserError as UserError
    from evo.plots import archive_heatmap as archive_heatmap
    from evo.plots import convergence as convergence
    from evo.plots import run_picture as run_picture
    from evo.progress import Observer as Observer
    from evo.progress import Progress as Progress
    from evo.run import Run as Run
    from evo.strategies.base import Move as Move
    from evo.strategies.base import Strategy as Strategy
    from evo.summary import Summary as Summary
    from fitness.opening import open_evaluator as open_evaluator
    from fitness.problem import Problem as Problem
    from fitness.protocol import Certificate as Certificate
    from fitness.protocol import EvaluationSettings as EvaluationSettings
    from fitness.protocol import Evaluator as Evaluator
    from operators.base import Context as Context
    from operators.base import Operator as Operator

__version__ = "0.1.0"

_HOMES = {
    "archive.axes": ("Bins", "Categorical", "Log2"),
    "archive.candidate": ("AddStatus", "Candidate", "Draft", "Proposal", "Repair", "SetValues", "VisitCell"),
    "archive.descriptors": ("Descriptors",),
    "archive.evaluation": ("Diagnostic", "Evaluation", "Outcome", "Samples"),
    "archive.grid": ("GridArchive",),
    "archive.kernel": ("Kernel",),
    "archive.lineage": ("Lineage",),
    "archive.space": ("Space",),
    "archive.tunables": ("Tunable",),
    "archive.values": ("TunableError",),
    "evo.config": ("Config", "load_config", "parse_config"),
    "evo.errors": ("UserError",),
    "evo.plots": ("archive_heatmap", "convergence", "run_picture"),
    "evo.progress": ("Observer", "Progress"),
    "evo.run": ("Run",),
    "evo.strategies.base": ("Move", "Strategy"),
    "evo.summary": ("Summary",),
    "fitness.opening": ("open_evaluator",),
    "fitness.problem": ("Problem",),
    "fitness.protocol": ("Certificate", "EvaluationSettings", "Evaluator"),
    "operators.base": ("Context", "Operator"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'evo' has no attribute {name!r}; it offers {', '.join(__all__)}")
    from evo.shadow import refuse_shadows

    refuse_shadows()
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
