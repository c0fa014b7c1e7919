"""What is written down of a Triton file's launches."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from archive.kernel import Kernel
from fitness.gpu.plan import Launches
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets.base import BuildFailure
from fitness.targets.triton import TritonTarget

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")
METADATA = SimpleNamespace(num_warps=4, num_ctas=1, global_scratch_size=0)


class Tensor:
    """A tensor as far as a plan looks at it: `storage` says whose memory it is."""

    def __init__(self, storage: int, offset: int = 0, element: int = 2) -> None:
        self._storage, self._offset, self._element = storage, offset, element

    def untyped_storage(self) -> Any:
        return SimpleNamespace(_cdata=self._storage)

    def storage_offset(self) -> int:
        return self._offset

    def element_size(self) -> int:
        return self._element


def launched(signature: dict[str, Any], *arguments: Any) -> Launches:
    launches = Launches()
    _, function, *_ = launches.load_binary("kernel", b"code", 0, 0)
    launches.begin([Tensor(7), Tensor(8), None])
    launcher = launches.launcher(SimpleNamespace(signature=signature), METADATA)
    launcher(3, 2, 1, 0, function, None, None, None, None, *arguments)
    return launches


def test_pointers_are_arguments_with_offsets_and_constants_are_left_out() -> None:
    found = launched({"y": "*bf16", "x": "*bf16", "n": "i32", "BLOCK": "constexpr"}, Tensor(8), Tensor(7, offset=5), 4096, 128)
    assert found.made == [{"kernel": 0, "grid": [3, 2, 1], "arguments": [["pointer", 1, 0], ["pointer", 0, 10], ["value", "00100000"]]}]
    assert found.kernels == [{"name": "kernel", "shared": 0, "threads": 128, "clusters": 1, "cooperative": False, "scratch": 0}]
    assert found.why_not == ""


@pytest.mark.parametrize(
    ("kind", "value", "hexadecimal"),
    [
        ("i1", True, "01"), ("i8", -1, "ff"), ("i64", 1 << 40, "0000000000010000"), ("u32", 7, "07000000"), ("fp32", 1.0, "0000803f"),
        ("fp64", 1.0, "000000000000f03f"), ("bf16", 1.0, "803f"), ("fp16", 1.0, "003c"), ("*fp32", None, "0000000000000000"),
        ("*fp32", 16, "1000000000000000"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_the_bytes_a_kernel_reads(kind: str, value: Any, hexadecimal: str) -> None:
    assert launched({"a": kind}, value).made[0]["arguments"] == [["value", hexadecimal]]


def test_tuples_are_flattened() -> None:
    found = launched({"a": ("*bf16", ("i32", "constexpr"))}, (Tensor(8), (5, 9)))
    assert found.made[0]["arguments"] == [["pointer", 1, 0], ["value", "05000000"]]


@pytest.mark.parametrize("kind", ["*bf16", "tensordesc<bf16[64,64]>"])
def test_what_cannot_be_written_down_is_said(kind: str) -> None:
    assert launched({"a": kind}, Tensor(99)).why_not != ""


@pytest.fixture(scope="module")
def target() -> Iterator[TritonTarget]:
    if not INSTALLED:
        pytest.skip("torch and triton are not installed")
    made = TritonTarget(EvaluationSettings(architecture="sm_90"), Problem.load("softmax_bf16"))
    yield made
    made.close()


@needs_triton
def test_a_seed_becomes_machine_code_and_launches_on_every_shape(target: TritonTarget) -> None:
    problem = Problem.load("softmax_bf16")
    artifact = target.build(problem.seed_kernel("triton"))
    assert target.program(artifact).kind == "plan"
    with tarfile.open(fileobj=io.BytesIO(artifact.path.read_bytes())) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    plan = json.loads(content["plan.json"])
    sizes = [list(s.values()) for s in (*problem.shapes, *problem.small_shapes)]
    assert [case["sizes"] for case in plan["cases"]] == sizes
    assert plan["cases"][0]["launches"][0]["grid"] == [8192, 1, 1]
    assert plan["cases"][0]["launches"][0]["arguments"][:2] == [["pointer", 0, 0], ["pointer", 1, 0]]
    assert all(content[f"{number}.cubin"].startswith(b"\x7fELF") for number in range(len(plan["kernels"])))
    assert not any(name.endswith(".py") for name in content), "no host code may reach the device's process"


@needs_triton
def test_a_certified_kernel_is_built_for_the_held_out_shapes(target: TritonTarget) -> None:
    problem = Problem.load("softmax_bf16")
    artifact = target.build(problem.seed_kernel("triton"), held_out=True)
    with tarfile.open(fileobj=io.BytesIO(artifact.path.read_bytes())) as tar:
        plan = json.load(tar.extractfile("plan.json"))  # type: ignore[arg-type]
    assert [case["sizes"] for case in plan["cases"]] == [list(s.values()) for s in problem.held_out_shapes]


@needs_triton
def test_memory_that_triton_asks_for_is_in_the_plan_and_its_pointers_close_the_parameters() -> None:
    """Descriptors made on the device lie in it. What a kernel takes is in its machine code, in the order of the plan."""
    target = TritonTarget(EvaluationSettings(architecture="sm_90"), Problem.load("gemm_bf16"))
    try:
        artifact = target.build(target.problem.seed_kernel("triton").with_values({"BULK": 1}))  # type: ignore[union-attr]
    finally:
        target.close()
    with tarfile.open(fileobj=io.BytesIO(artifact.path.read_bytes())) as tar:
        plan = json.load(tar.extractfile("plan.json"))  # type: ignore[arg-type]
    kernel, launch = plan["kernels"][0], plan["cases"][0]["launches"][0]
    assert kernel["scratch"] > 0
    assert [kind for kind, *_ in launch["arguments"]] == ["pointer"] * 3 + ["value"] * 3


@needs_triton
def test_a_file_with_descriptors_made_on_the_host_is_hosted(target: TritonTarget) -> None:
    source = Problem.load("softmax_bf16").seed_kernel("triton").source
    source = source.replace(
        "import triton.language as tl", "import triton.language as tl\nfrom triton.tools.tensor_descriptor import TensorDescriptor"
    )
    source += """

@triton.jit
def copied(x, y):
    y.store([0, 0], x.load([0, 0]))


def launch(x, y, workspace):
    shape, block = list(x.shape), [1, 16]
    strides = [x.shape[1] // 8 * 8 + 8, 1]
    copied[(1,)](TensorDescriptor(x, shape, strides, block), TensorDescriptor(y, shape, strides, block))
"""
    artifact = target.build(Kernel("triton", source))
    assert target.program(artifact).kind == "triton"
    assert target.describe(artifact, Kernel("triton", source))["planned"] is False


@needs_triton
def test_a_launch_that_changes_its_mind_is_refused(target: TritonTarget) -> None:
    source = Problem.load("softmax_bf16").seed_kernel("triton").source
    source = source.replace("def launch(x, y, workspace):", "TIMES = [0]\n\n\ndef launch(x, y, workspace):\n    TIMES[0] += 1")
    source = source.replace("rows_at_once[(triton.cdiv(rows, ROWS),)]", "rows_at_once[(rows - TIMES[0] % 2,)]")
    with pytest.raises(BuildFailure, match="something else"):
        target.build(Kernel("triton", source))


@needs_triton
def test_texts_that_differ_in_an_unused_tunable_are_the_same_program(target: TritonTarget) -> None:
    seed = Problem.load("softmax_bf16").seed_kernel("triton")
    plain, unused, used = (
        target.build(seed.with_values({**seed.values, **values})).hash for values in ({}, {"NUM_STAGES": 3}, {"RECIPROCAL": 1})
    )
    assert plain == unused
    assert plain != used
