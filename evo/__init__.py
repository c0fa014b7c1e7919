"""evo: evolutionary search for fast kernels.

The public face. Names are imported when first used (PEP 562), so that `import evo` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archive.candidate import AddStatus as AddStatus
    from archive.candidate import Candidate as Candidate
    from archive.candidate import Draft as Draft
    from archive.candidate import Proposal as Proposal
    from archive.evaluation import Diagnostic as Diagnostic
    from archive.evaluation import Evaluation as Evaluation
    from archive.evaluation import Outcome as Outcome
    from archive.evaluation import Samples as Samples
    from fitness.protocol import Certificate as Certificate
    from fitness.protocol import EvaluationSettings as EvaluationSettings
    from fitness.protocol import Evaluator as Evaluator

__version__ = "0.1.0"

_HOMES = {
    "archive.candidate": ("AddStatus", "Candidate", "Draft", "Proposal"),
    "archive.evaluation": ("Diagnostic", "Evaluation", "Outcome", "Samples"),
    "fitness.protocol": ("Certificate", "EvaluationSettings", "Evaluator"),
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
