"""What of the installed packages a zygote is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitness.packages import PackageMissing, places
from fitness.problem import Problem
from fitness.program import Program
from fitness.referee import Referee
from fitness.slots import Slot
from fitness.supply import CaseSupply
from fitness.verify import judge

SPMV = Path(__file__).resolve().parent.parent.parent / "experiments" / "problems" / "spmv"


def test_numpy_is_shown_with_its_libraries_and_without_its_neighbours() -> None:
    import numpy

    shown = places(["numpy"])
    folder = Path(numpy.__file__).resolve().parent
    assert shown["numpy"] == str(folder)
    assert ("numpy.libs" in shown) is (folder.parent / "numpy.libs").is_dir()
    assert "pytest" not in shown
    assert all(Path(path).exists() for path in shown.values())


def test_what_a_package_requires_comes_with_it_and_a_single_module_is_shown_as_its_file() -> None:
    shown = places(["pydantic"])
    assert {"pydantic", "pydantic_core", "annotated_types", "typing_extensions"} <= set(shown)
    assert shown["typing_extensions"].endswith("typing_extensions.py")
    assert not any(path.endswith(("site-packages", ".dist-info")) for path in shown.values())


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(PackageMissing, match="'no_such_package'"):
        places(["no_such_package"])


def test_a_baseline_finds_the_package_it_is_named_after() -> None:
    pytest.importorskip("scipy")
    problem = Problem.load(SPMV)
    case = CaseSupply(problem).timed(problem.small_shapes[0], 0)
    with Referee(pool=1) as referee:
        runner = referee.load(Program("python", problem.baselines["scipy"], "scipy"), problem)
        slot = Slot(problem, case.sizes)
        slot.fill(case.inputs)
        slot.poison()
        runner.call(slot, 20.0)
        assert judge(problem, case, slot.outputs) is None
        runner.close()
        slot.close()
