"""What is taken down of a CUDA file's launches, without a device; on a machine with one, that they are played as written."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.gpu.cubin import read_cubin, undefined
from fitness.gpu.places import Places
from fitness.gpu.recording import Case, _Bases
from fitness.problem import Problem, default_roots
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure
from fitness.targets.cuda import CudaTarget, find_nvcc
from fitness.targets.elf import ElfError

needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")
SEEDS = sorted(path for root in default_roots() for path in root.glob("*/seed.cu"))
HEAD = "#include <cstddef>\n#include <cstdint>\n#include <cuda_runtime.h>\n"
KERNEL = """
__global__ void copied(const short* x, short* y, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] = x[i];
}
"""
ENTRY = 'extern "C" void kernel(const short* x, short* y, void* workspace, int64_t rows, int64_t cols, cudaStream_t stream) {\n'


def built(source: str, problem: str = "softmax_bf16") -> tuple[CudaTarget, Artifact]:
    target = CudaTarget(EvaluationSettings(architecture="sm_90"), Problem.load(problem))
    return target, target.build(Kernel("cuda", source))


def opened(artifact: Artifact) -> tuple[dict[str, Any], bytes]:
    with tarfile.open(fileobj=io.BytesIO(artifact.path.read_bytes())) as tar:
        assert sorted(tar.getnames()) == ["0.cubin", "plan.json"], "no host code may reach the device's process"
        return json.load(tar.extractfile("plan.json")), tar.extractfile("0.cubin").read()  # type: ignore[arg-type, union-attr]


def planned(source: str) -> dict[str, Any]:
    target, artifact = built(source)
    assert json.loads(str(artifact.facts["facts"]))["why_no_plan"] == ""
    assert target.program(artifact).kind == "plan"
    return opened(artifact)[0]


def why_hosted(source: str) -> str:
    target, artifact = built(source)
    assert target.program(artifact).kind == "cuda"
    assert target.describe(artifact, Kernel("cuda", source))["planned"] is False
    return str(json.loads(str(artifact.facts["facts"]))["why_no_plan"])


def refused(source: str) -> BuildFailure:
    with pytest.raises(BuildFailure) as failure:
        built(source)
    return failure.value


# -- what is planned ----------------------------------------------------------------------------------------------------------------------


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.parent.name)
def test_every_shipped_seed_becomes_machine_code_and_launches_on_every_shape(path: Path) -> None:
    problem = Problem.load(path.parent.name)
    target = CudaTarget(EvaluationSettings(architecture="sm_90"), problem)
    kernel = problem.seed_kernel("cuda")
    artifact = target.build(kernel)
    assert json.loads(str(artifact.facts["facts"]))["why_no_plan"] == ""
    plan, image = opened(artifact)
    assert [case["sizes"] for case in plan["cases"]] == [list(s.values()) for s in (*problem.shapes, *problem.small_shapes)]
    sizes = {name: kernel.sizes for name, kernel in read_cubin(image).items()}
    arguments = len(problem.inputs) + len(problem.outputs)
    for case in plan["cases"]:
        (launch,) = case["launches"]
        entry = plan["kernels"][launch["kernel"]]
        assert entry["block"] == [kernel.values.get("THREADS", 32 * int(kernel.values.get("WARPS", 0))), 1, 1]
        assert len(launch["arguments"]) == len(sizes[entry["name"]])
        pointers = [argument for argument in launch["arguments"] if argument[0] == "pointer"]
        assert sorted(index for _, index, _ in pointers) == list(range(arguments)), "every buffer is handed on once"
        assert all(offset == 0 for *_, offset in pointers)
    facts = target.describe(artifact, kernel, problem)
    assert facts["planned"] is True
    assert facts["programs"] > 1 and facts["registers"] > 8


@needs_nvcc
def test_softmax_launches_a_block_a_row_with_its_columns() -> None:
    plan = planned(Problem.load("softmax_bf16").seed_kernel("cuda").source)
    assert plan["kernels"][0]["name"].startswith("_Z11rows_kernelILi1ELb0EE"), "names are those of the machine code"
    rows, cols = plan["cases"][0]["sizes"]
    assert plan["cases"][0]["launches"][0]["grid"] == [rows, 1, 1]
    width = ["value", cols.to_bytes(8, "little").hex()]
    assert plan["cases"][0]["launches"][0]["arguments"] == [["pointer", 0, 0], ["pointer", 1, 0], width]


@needs_nvcc
def test_a_certified_kernel_is_planned_for_the_held_out_shapes() -> None:
    problem = Problem.load("softmax_bf16")
    artifact = CudaTarget(EvaluationSettings(architecture="sm_90"), problem).build(problem.seed_kernel("cuda"), held_out=True)
    assert [case["sizes"] for case in opened(artifact)[0]["cases"]] == [list(sizes.values()) for sizes in problem.held_out_shapes]


@needs_nvcc
def test_everything_a_launch_can_have_is_in_the_plan() -> None:
    source = (
        HEAD
        + """
struct Views { const short* x; int n; short* y; char tag; };
struct Tag {};
struct Large { int table[1500]; void* w; };
__global__ void viewed(Views v, char c, Tag, double d, float3 f) { if (v.n > threadIdx.x) v.y[threadIdx.x] = v.x[threadIdx.x]; }
__global__ void large(Large l) { ((int*)l.w)[threadIdx.x] = l.table[threadIdx.x]; }
__global__ void shared() { extern __shared__ int s[]; s[threadIdx.x] = 1; }
extern "C" size_t workspace(int64_t rows, int64_t cols) { return rows * 4; }
"""
        + ENTRY
        + """
    static bool once = (cudaFuncSetAttribute(shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100000), true);
    (void)once;
    cudaMemsetAsync((char*)workspace + 8, 255, 4 * rows - 8, stream);
    Views v{x + cols, (int)rows, y, 7};
    viewed<<<dim3(rows, 2, 3), dim3(32, 4), 0, stream>>>(v, 3, Tag{}, 2.5, float3{1, 2, 3});
    shared<<<1, 32, 100000, stream>>>();
    cudaLaunchAttribute attributes[2];
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim = {2, 1, 1};
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(4), config.blockDim = dim3(64), config.stream = stream, config.attrs = attributes, config.numAttrs = 2;
    cudaLaunchKernelEx(&config, viewed, v, (char)5, Tag{}, 1.0, float3{});
    Large l{};
    l.table[1] = 7, l.w = workspace;
    void* args[] = {&l};
    int blocks = 0, multiprocessors = 0;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, large, 32, 0);
    cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
    cudaLaunchCooperativeKernel(large, dim3(blocks * multiprocessors), dim3(32), args, 0, stream);
    if (cudaGetLastError() == cudaSuccess) cudaMemcpyAsync(y, x, 2 * cols, cudaMemcpyDeviceToDevice, stream);
}
"""
    )
    assert CudaTarget(EvaluationSettings(architecture="sm_90")).policy(Kernel("cuda", source)) is None
    plan = planned(source)
    case = plan["cases"][0]
    rows, cols = case["sizes"]
    assert case["workspace"] == 4 * rows
    memset, viewed, shared, clustered, cooperative, copy = case["launches"]
    assert memset == {"memset": [2, 8], "byte": 255, "bytes": 4 * rows - 8}
    assert copy == {"copy": [1, 0], "from": [0, 0], "bytes": 2 * cols}
    assert viewed["grid"] == [rows, 2, 3]
    kernels = [plan["kernels"][launch["kernel"]] for launch in (viewed, shared, clustered, cooperative)]
    assert [kernel["block"] for kernel in kernels] == [[32, 4, 1], [32, 1, 1], [64, 1, 1], [32, 1, 1]]
    kind, pieces = viewed["arguments"][0]
    assert kind == "pieces"
    assert [piece[:1] for piece in pieces] == [["pointer"], ["value"], ["pointer"], ["value"]]
    assert pieces[0] == ["pointer", 0, 2 * cols] and pieces[2] == ["pointer", 1, 0]
    assert bytes.fromhex(pieces[1][1])[:4] == rows.to_bytes(4, "little")
    assert [bytes.fromhex(argument[1]) for argument in (viewed["arguments"][1], viewed["arguments"][3])] == [b"\3", bytes(6) + b"\4\x40"]
    assert kernels[1]["shared"] == 100000 and kernels[1]["settings"] == [[8, 100000]]
    assert kernels[2]["attributes"] == [[4, [2, 1, 1]], [6, [1, 0, 0]]]
    assert kernels[3]["attributes"] == [[2, [1, 0, 0]]]
    assert cooperative["grid"] == [32 * 132, 1, 1], "32 blocks of one warp on each of 132 multiprocessors"
    assert cooperative["arguments"][0][1][-1] == ["pointer", 2, 0]
    assert sum(len(piece[1]) // 2 for piece in cooperative["arguments"][0][1][:-1]) == 6000


@needs_nvcc
def test_the_first_launch_of_a_call_does_not_run_into_the_call_before() -> None:
    launch = """
    cudaLaunchAttribute attribute[1];
    attribute[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute[0].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(4), config.blockDim = dim3(256), config.stream = stream, config.attrs = attribute, config.numAttrs = 1;
    cudaLaunchKernelEx(&config, copied, x, y, int(rows * cols));
    cudaLaunchKernelEx(&config, copied, x, y, int(rows * cols));
"""
    plan = planned(HEAD + KERNEL + ENTRY + launch + "}\n")
    first, second = plan["cases"][0]["launches"]
    assert plan["kernels"][first["kernel"]]["attributes"] == []
    assert plan["kernels"][second["kernel"]]["attributes"] == [[6, [1, 0, 0]]]


@needs_nvcc
def test_texts_that_differ_in_what_is_not_compiled_are_the_same_program() -> None:
    body = KERNEL + ENTRY + "copied<<<rows, 256, 0, stream>>>(x, y, WIDTH);}\n"
    plain, unused, used = (
        built(f"{HEAD}#define WIDTH {width}\n#define UNUSED {other}\n{body}")[1].hash for width, other in ((3, 1), (3, 2), (4, 1))
    )
    assert plain == unused
    assert plain != used


# -- what is not --------------------------------------------------------------------------------------------------------------------------


@needs_nvcc
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("copied<<<1, 256, 0, stream>>>(x, (short*)((uintptr_t)y * 3), 1);", "depends on an address"),
        ("copied<<<(uintptr_t)x % 8191 + 1, 1>>>(x, y, 1);", "addresses of its buffers"),
        ("copied<<<1, 256, 0, stream>>>(x, y, 1); cudaStreamSynchronize(stream);", "cudaStreamSynchronize"),
        ("void* p; cudaMalloc(&p, 4); copied<<<1, 256, 0, stream>>>(x, y, 1);", "cudaMalloc"),
        ("int n; cudaMemcpyAsync(&n, x, 4, cudaMemcpyDeviceToHost, stream); copied<<<1, 256, 0, stream>>>(x, y, n);", "host and device"),
        ("int n; cudaMemsetAsync(&n, 0, 4, stream); copied<<<1, 256, 0, stream>>>(x, y, 1);", "no argument"),
        ("copied<<<1, 256, 0, (cudaStream_t)2>>>(x, y, 1);", "stream"),
        ("int n; cudaDeviceGetAttribute(&n, cudaDevAttrClockRate, 0); copied<<<1, 256, 0, stream>>>(x, y, 1);", "attribute 13"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_down_is_hosted_and_said(body: str, why: str) -> None:
    assert why in why_hosted(HEAD + KERNEL + ENTRY + body + "}\n")


@needs_nvcc
def test_kernels_that_ask_the_devices_system_for_something_are_hosted() -> None:
    source = HEAD + '#include <cstdio>\n__global__ void said() { printf("%d", 1); }\n' + ENTRY + "said<<<1, 1, 0, stream>>>(); }\n"
    assert "vprintf" in why_hosted(source)


@needs_nvcc
@pytest.mark.parametrize(
    ("body", "outcome", "reason", "said"),
    [
        ("static int n = 0; copied<<<1, 256, 0, stream>>>(x, y, ++n);", Outcome.BUILD_ERROR, "launches_vary", "something else"),
        ("static int n = 0; copied<<<++n, 256, 0, stream>>>(x, y, 1);", Outcome.BUILD_ERROR, "launches_vary", "something else"),
        ("timespec t; clock_gettime(0, &t); copied<<<1, 256>>>(x, y, t.tv_nsec);", Outcome.BUILD_ERROR, "launches_vary", "arguments"),
        ("*(volatile short*)y = 1; copied<<<1, 256, 0, stream>>>(x, y, 1);", Outcome.CRASH, "launch_crashed", "neither read nor write"),
        ("if (*(volatile short*)x) copied<<<1, 256, 0, stream>>>(x, y, 1);", Outcome.CRASH, "launch_crashed", "neither read nor write"),
        ("volatile int n = 1; while (n) {} copied<<<1, 256, 0, stream>>>(x, y, 1);", Outcome.TIMEOUT, "launch_timeout", "endless"),
        ("volatile int n = 1; while (n) copied<<<1, 256, 0, stream>>>(x, y, 1);", Outcome.TIMEOUT, "launch_timeout", "endless"),
        ("copied<<<1, 256, 0, stream>>>(x, y, 1); _exit(0);", Outcome.CRASH, "launch_crashed", "ended its process"),
        ("", Outcome.BUILD_ERROR, "no_launch", "no kernel"),
        ("copied<<<1, 2048, 0, stream>>>(x, y, 1);", Outcome.BUILD_ERROR, "invalid_launch", "2048"),
        ("copied<<<1, 256, 60000, stream>>>(x, y, 1);", Outcome.BUILD_ERROR, "invalid_launch", "cudaFuncSetAttribute allowed 49152"),
        (
            "cudaLaunchAttribute a[1]; a[0].id = cudaLaunchAttributeClusterDimension; a[0].val.clusterDim = {2, 1, 1};"
            "cudaLaunchConfig_t c{}; c.gridDim = 3, c.blockDim = 32, c.stream = stream, c.attrs = a, c.numAttrs = 1;"
            "cudaLaunchKernelEx(&c, copied, x, y, 1);", Outcome.BUILD_ERROR, "invalid_launch", "clusters of 2 x 1 x 1",
        ),
        ("copied<<<dim3(1, 70000), 256, 0, stream>>>(x, y, 1);", Outcome.BUILD_ERROR, "invalid_launch", "70000"),
        ("cudaFuncSetAttribute(copied, cudaFuncAttributeMaxDynamicSharedMemorySize, 300000);", Outcome.BUILD_ERROR, "invalid_launch", "3"),
    ],
)  # fmt: skip
def test_host_code_that_does_more_than_launch_ends_by_name(body: str, outcome: Outcome, reason: str, said: str) -> None:
    source = HEAD + "#include <time.h>\n#include <unistd.h>\n" + KERNEL + ENTRY + body + "}\n"
    failure = refused(source)
    assert (failure.outcome, failure.diagnostic.reason) == (outcome, reason)
    assert said in failure.diagnostic.message


@needs_nvcc
def test_what_host_code_forks_ends_with_it() -> None:
    body = "if (!fork()) { volatile int n = 1; while (n) {} } copied<<<1, 256, 0, stream>>>(x, y, 1);"
    before = _recorders()
    assert planned(HEAD + "#include <unistd.h>\n" + KERNEL + ENTRY + body + "}\n")["cases"]
    assert _recorders() <= before


def _recorders() -> set[str]:
    """Processes of recorders on this machine, by number."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if status.read_text().strip() == "recorder":
                found.add(status.parent.name)
    return found


@needs_nvcc
def test_a_file_without_kernels_or_without_entry_is_a_build_error() -> None:
    assert refused(HEAD + ENTRY + "}\n").diagnostic.reason in ("no_kernel", "no_launch")
    assert refused(HEAD + KERNEL + "void other(const short* x, short* y) { copied<<<1, 1>>>(x, y, 1); }\n").diagnostic.reason == "no_kernel"


@needs_nvcc
def test_what_was_found_out_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    source = HEAD + KERNEL + ENTRY + "copied<<<1, 256, 0, stream>>>(x, y, 5);}\n"
    _, first = built(source)
    monkeypatch.setattr("fitness.targets.cuda.record", lambda *_, **__: pytest.fail("taken down again"))
    _, again = built(source)
    assert again.cached and again.hash == first.hash


# -- without a compiler -------------------------------------------------------------------------------------------------------------------


def test_pointers_are_told_from_numbers_by_two_sets_of_addresses() -> None:
    cases = [Case((4,), (64, 64))]
    one, two = _Bases(cases), _Bases(cases)
    places = Places(one.addresses, two.addresses)
    assert places.pointer(one.addresses[1] + 12, two.addresses[1] + 12) == (1, 12)
    assert places.pointer(one.addresses[0] - 4, two.addresses[0] - 4) == (0, -4)
    assert places.pointer(one.addresses[0], one.addresses[0]) is None, "the same number in both is a number"
    word = one.addresses[2].to_bytes(8, "little")
    assert places.parameter(word, word) == ["value", word.hex()]
    assert places.parameter(b"", b"") == ["value", ""]


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x02\x01" + bytes(58), b"\x7fELF\x02\x01" + b"\xff" * 200])
def test_damaged_machine_code_is_an_error_with_a_name(content: bytes) -> None:
    with pytest.raises(ElfError, match="cubin"):
        read_cubin(content)
    with pytest.raises(ElfError, match="cubin"):
        undefined(content)


@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler")
def test_the_stand_in_builds_and_offers_what_nvccs_code_calls(tmp_path: Path) -> None:
    from fitness.cache import Cache
    from fitness.gpu.recording import stand_in
    from fitness.targets.elf import SharedObject

    entry = stand_in(Cache(tmp_path), "libcudart.so.13")
    exports = SharedObject(entry.path("libcudart.so.13")).exports
    assert {"__cudaRegisterFatBinary", "__cudaRegisterFunction", "__cudaLaunchKernel", "cudaLaunchKernelExC", "cudaMemsetAsync"} <= exports
    assert "cudaMalloc" not in exports and "cudaStreamSynchronize" not in exports
    assert stand_in(Cache(tmp_path), "libcudart.so.13").folder == entry.folder
