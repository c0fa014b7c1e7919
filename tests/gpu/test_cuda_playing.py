"""Plans of CUDA files, played on a device: every kind of launch arrives as it was written, and the clock treats it like any other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from fitness.opening import open_evaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets.cuda import CudaTarget, find_nvcc

pytestmark = [
    pytest.mark.gpu, pytest.mark.timeout(600), pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")
]  # fmt: skip
SETTINGS = EvaluationSettings(repetitions=6, precision=0.03, call_timeout=5.0)
AGREE = 0.1
"""By how much the times of two kernels may differ that both do nothing but move the same bytes in 16-byte words."""

EVERYTHING = """
#include <cooperative_groups.h>
#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

struct Views { const unsigned* words; int first; unsigned* out; char tag; };
struct Tag {};
struct Large { unsigned table[1500]; unsigned* out; };

__device__ unsigned calls;

// out[0..31]: words of parameters in structs, between them, and behind them
__global__ void viewed(Views v, char c, Tag, double d, float3 f, unsigned short s) {
    if (blockIdx.x || blockIdx.y || threadIdx.x || threadIdx.y) return;
    unsigned* o = v.out + v.first;
    o[0] = v.words[3], o[1] = v.tag, o[2] = c, o[3] = unsigned(d * 2), o[4] = unsigned(f.x), o[5] = unsigned(f.z), o[6] = s;
    o[7] = gridDim.x, o[8] = gridDim.y, o[9] = blockDim.x, o[10] = blockDim.y;
}
// a parameter of more than 4096 bytes, from the table's end to its beginning
template <int STEP>
__global__ void large(Large l) { if (threadIdx.x < 8) l.out[threadIdx.x] = l.table[1499 - STEP * threadIdx.x]; }
// 100 kB of dynamic shared memory: the last word goes round
__global__ void shared(unsigned* out) {
    extern __shared__ unsigned room[];
    room[25000 - 1 - threadIdx.x] = threadIdx.x + 5;
    __syncthreads();
    if (!threadIdx.x) out[0] = room[25000 - 1 - 31];
}
__global__ void clustered(unsigned* out) {
    namespace cg = cooperative_groups;
    if (cg::this_cluster().block_rank() == 1 && !threadIdx.x) atomicAdd(out, cg::this_cluster().num_blocks());
}
__global__ void whole(unsigned* out) {
    namespace cg = cooperative_groups;
    atomicAdd(out, 1u);
    cg::this_grid().sync();
    if (!threadIdx.x && !blockIdx.x) out[1] = out[0];
}

extern "C" size_t workspace(int64_t, int64_t) { return 4096; }

extern "C" void kernel(const __nv_bfloat16* x, __nv_bfloat16* y, void* scratch, int64_t rows, int64_t cols, cudaStream_t stream) {
    unsigned* out = (unsigned*)y;
    unsigned* room = (unsigned*)scratch;
    cudaMemsetAsync(y, 0, 2 * rows * cols, stream);
    cudaMemsetAsync(room + 1, 0x11, 8, stream);
    viewed<<<dim3(5, 6), dim3(32, 4), 0, stream>>>(Views{(const unsigned*)x, 2, out, 7}, 3, Tag{}, 4.5, float3{1, 2, 3}, 777);
    Large l{};
    for (int i = 0; i < 1500; ++i) l.table[i] = i;
    l.out = out + 16;
    large<3><<<1, 32, 0, stream>>>(l);
    cudaFuncSetAttribute(shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 100000);
    shared<<<1, 32, 100000, stream>>>(out + 32);
    cudaLaunchAttribute attribute[1];
    attribute[0].id = cudaLaunchAttributeClusterDimension;
    attribute[0].val.clusterDim = {4, 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(8), config.blockDim = dim3(64), config.stream = stream, config.attrs = attribute, config.numAttrs = 1;
    cudaLaunchKernelEx(&config, clustered, out + 33);
    unsigned* counted = out + 34;
    void* arguments[] = {&counted};
    int multiprocessors = 0;
    cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
    cudaLaunchCooperativeKernel(whole, dim3(multiprocessors), dim3(32), arguments, 0, stream);
    cudaMemcpyAsync(out + 36, room + 1, 8, cudaMemcpyDeviceToDevice, stream);
}
"""


def built(source: str, problem: Problem) -> bytes:
    target = CudaTarget(EvaluationSettings(), problem)
    artifact = target.build(Kernel("cuda", source))
    assert json.loads(str(artifact.facts["facts"]))["why_no_plan"] == ""
    return artifact.path.read_bytes()


def test_every_kind_of_launch_arrives_as_it_was_written() -> None:
    import torch

    from fitness.gpu.launcher import Loaded

    problem = Problem.load("softmax_bf16")
    torch.cuda.init()
    rows, cols = problem.shapes[0].values()
    x = torch.arange(rows * cols // 2, dtype=torch.int32, device="cuda")
    y = torch.full((rows * cols // 2,), -1, dtype=torch.int32, device="cuda")
    room = torch.zeros(4096, dtype=torch.uint8, device="cuda")
    loaded = Loaded(built(EVERYTHING, problem))
    for _ in range(2):  # and again, as every call of a batch is
        for each in loaded.of(0, 0, [x.data_ptr(), y.data_ptr(), room.data_ptr()]):
            each.queue(0)
        torch.cuda.synchronize()
        found = y[:40].tolist()
        assert found[2:13] == [3, 7, 3, 9, 1, 3, 777, 5, 6, 32, 4]
        assert found[16:24] == [1499 - 3 * i for i in range(8)]
        assert found[32] == 31 + 5
        assert found[33] == 2 * 4, "two clusters of four blocks"
        threads = 32 * torch.cuda.get_device_properties(0).multi_processor_count
        assert found[34:36] == [threads, threads], "no block passed the barrier before all had come"
        assert found[36:38] == [0x11111111] * 2
        assert not y[40:].any()
    loaded.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softmax_bf16", "embedding_bag_bf16", "transpose_bf16", "rope_bf16"])
def test_a_seed_is_right_when_it_is_played(name: str) -> None:
    evaluation = measured(name, "cuda", {})
    assert evaluation.profile["planned"] is True


@pytest.mark.slow
def test_a_cuda_file_and_a_triton_file_that_move_the_same_bytes_take_the_same_time() -> None:
    one = measured("swiglu_bf16", "cuda", {"VECTOR": 8})
    other = measured("swiglu_bf16", "triton", {})
    seconds = [float(np.median(np.concatenate([s.seconds for s in evaluation.samples]))) for evaluation in (one, other)]
    assert seconds[0] == pytest.approx(seconds[1], rel=AGREE)
    assert one.speedup == pytest.approx(other.speedup, rel=AGREE)


@pytest.mark.slow
def test_an_illegal_access_ends_one_kernel_and_the_next_one_runs() -> None:
    seed = Problem.load("softmax_bf16").seed_kernel("cuda")
    wild = Kernel("cuda", seed.source.replace("__nv_bfloat16* out = y + blockIdx.x * cols;", "__nv_bfloat16* out = y + (1ll << 40);"))
    assert wild != seed
    evaluator: Any = open_evaluator("softmax_bf16", "cuda", SETTINGS)
    try:
        ended = evaluator.measure(evaluator.prepare(wild))
        assert ended.outcome is Outcome.CRASH, ended.diagnostics
        assert {finding.reason for finding in ended.diagnostics} == {"illegal_access"}
        after = evaluator.measure(evaluator.prepare(seed))
        assert after.outcome is Outcome.OK, after.diagnostics
    finally:
        evaluator.close()


def measured(problem: str, target: str, values: dict[str, Any]) -> Evaluation:
    evaluator: Any = open_evaluator(problem, target, SETTINGS)
    try:
        seed = Problem.load(problem).seed_kernel(target)
        evaluation: Evaluation = evaluator.measure(evaluator.prepare(seed.with_values({**seed.values, **values})))
    finally:
        evaluator.close()
    assert evaluation.outcome is Outcome.OK, evaluation.diagnostics
    return evaluation
