"""Where a measurement was made, as facts: two measurements are comparable as they stand only when these agree."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict

import numpy as np

from archive.evaluation import Environment
from fitness.problem import Problem, shape_label
from fitness.protocol import PROTOCOL_VERSION, EvaluationSettings
from fitness.sandbox import choose
from fitness.sandbox.base import memory_limits
from fitness.targets.base import Target

__all__ = ["environment_of"]


def environment_of(problem: Problem, target: Target, settings: EvaluationSettings) -> Environment:
    """Facts that decide whether a stored evaluation may stand for a new one."""
    facts: dict[str, object] = {
        "protocol": PROTOCOL_VERSION,
        "problem": problem.name,
        "problem_version": problem.version,
        "shapes": [shape_label(sizes) for sizes in problem.shapes],
        "target": target.name,
        "device": asdict(target.device()),
        "threads": settings.threads,
        "sandbox": choose(settings.sandbox).level,
        "memory_limits": memory_limits(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return Environment(hashlib.sha256(text.encode()).hexdigest()[:16], json.loads(text))
