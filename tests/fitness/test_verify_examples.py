"""The rule of verification, tried: honest kernels of every manner pass on six distributions, cheats fail on some."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fitness.argument import Argument
from fitness.inputs import DISTRIBUTIONS, Case
from fitness.native import library
from fitness.problem import Problem
from fitness.rounding import round_mantissa
from fitness.supply import CaseSupply
from fitness.verify import judge, limits

F = np.float32
EPSILON = F(1e-5)
BLOCK = 256
SIZES: Mapping[str, Mapping[str, int]] = {
    "softmax": {"rows": 8, "cols": 16384},
    "layernorm": {"rows": 8, "cols": 8192},
    "rmsnorm": {"rows": 8, "cols": 4096},
    "cumsum": {"rows": 4, "cols": 16384},
    "matmul": {"m": 48, "n": 40, "k": 1024},
    "attention": {"heads": 2, "length": 160, "width": 64},
    "transpose": {"rows": 130, "cols": 67},
}


# -- references, float64 in, float64 out ------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layernorm(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def rmsnorm(x, gamma):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gamma


def cumsum(x):
    return np.cumsum(x, axis=-1)


def attention(q, k, v):
    return softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])) @ v


REFERENCES: dict[str, Callable[..., Any]] = {
    "softmax": softmax,
    "layernorm": layernorm,
    "rmsnorm": rmsnorm,
    "cumsum": cumsum,
    "matmul": lambda a, b: a @ b,
    "attention": attention,
    "transpose": lambda x: x.T,
}
ARGUMENTS: dict[str, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "softmax": ({"x": ("rows", "cols")}, ("rows", "cols")),
    "layernorm": ({"x": ("rows", "cols"), "gamma": ("cols",), "beta": ("cols",)}, ("rows", "cols")),
    "rmsnorm": ({"x": ("rows", "cols"), "gamma": ("cols",)}, ("rows", "cols")),
    "cumsum": ({"x": ("rows", "cols")}, ("rows", "cols")),
    "matmul": ({"a": ("m", "k"), "b": ("k", "n")}, ("m", "n")),
    "attention": ({name: ("heads", "length", "width") for name in "qkv"}, ("heads", "length", "width")),
    "transpose": ({"x": ("rows", "cols")}, ("cols", "rows")),
}
LONGEST = {"matmul": "k", "attention": "length", "transpose": None}


@cache
def problem(name: str, compute: str = "float32", storage: str = "float32") -> Problem:
    inputs, output = ARGUMENTS[name]
    weights = ("gamma", "beta")
    sizes, longest = SIZES[name], LONGEST.get(name, "cols")
    hooks = {"reference": REFERENCES[name], "accumulation": lambda **s: s[longest] if longest else 1}
    return Problem(
        name=name, folder=Path("/nonexistent"), specification=name, sizes=tuple(sizes),
        inputs=tuple(Argument(n, storage, dims, "weight" if n in weights else "data") for n, dims in inputs.items()),
        outputs=(Argument("y", storage, output, "output"),),
        shapes=(), small_shapes=(sizes,), held_out_shapes=(), version="", compute_dtype=compute, hooks=hooks,
    )  # fmt: skip


@cache
def cases(name: str, compute: str = "float32", storage: str = "float32") -> tuple[Case, ...]:
    return tuple(CaseSupply(problem(name, compute, storage)).verification(SIZES[name], DISTRIBUTIONS, 5))


# -- sums as kernels form them, float32 throughout ---------------------------------------------------------------------


def sequential(x):
    return np.add.accumulate(x, axis=-1, dtype=F)[..., -1:]


def blocked(x):
    """Each of 256 lanes sums its own stride, then the lanes are summed: a vectorised loop."""
    parts = x.reshape(*x.shape[:-1], -1, BLOCK)
    lanes = np.add.accumulate(parts, axis=-2, dtype=F)[..., -1, :]
    return sequential(lanes)


def pairwise(x):
    while x.shape[-1] > 1:
        x = x[..., ::2] + x[..., 1::2]
    return x


def softmax_by(total):
    def run(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / total(e)

    return run


def softmax_online(x):
    largest, total = np.full((x.shape[0], 1), -np.inf, F), np.zeros((x.shape[0], 1), F)
    for at in range(0, x.shape[1], 128):
        part = x[:, at : at + 128]
        new = np.maximum(largest, part.max(-1, keepdims=True))
        total = total * np.exp(largest - new) + sequential(np.exp(part - new))
        largest = new
    return np.exp(x - largest) * (F(1) / total)


def softmax_exp2(x):
    e = np.exp2((x - x.max(-1, keepdims=True)) * F(1.4426950408889634))
    return e * (F(1) / blocked(e))


def layernorm_by(total):
    def run(x, gamma, beta):
        n = F(x.shape[-1])
        centred = x - total(x) / n
        return centred / np.sqrt(total(centred * centred) / n + EPSILON) * gamma + beta

    return run


def layernorm_welford(x, gamma, beta):
    mean, m2 = np.zeros(x.shape[0], F), np.zeros(x.shape[0], F)
    for count in range(x.shape[1]):
        delta = x[:, count] - mean
        mean = mean + delta / F(count + 1)
        m2 = m2 + delta * (x[:, count] - mean)
    scale = F(1) / np.sqrt(m2 / F(x.shape[1]) + EPSILON)
    return (x - mean[:, None]) * scale[:, None] * gamma + beta


def layernorm_merged(x, gamma, beta):
    """Statistics by block, merged as Chan, Golub and LeVeque (1979) do."""
    mean, m2, count = np.zeros((x.shape[0], 1), F), np.zeros((x.shape[0], 1), F), F(0)
    for at in range(0, x.shape[1], BLOCK):
        part = x[:, at : at + BLOCK]
        own = sequential(part) / F(BLOCK)
        delta, new = own - mean, count + F(BLOCK)
        m2 = m2 + sequential((part - own) ** 2) + delta * delta * (count * F(BLOCK) / new)
        mean, count = mean + delta * (F(BLOCK) / new), new
    return (x - mean) / np.sqrt(m2 / count + EPSILON) * gamma + beta


def rmsnorm_by(total):
    return lambda x, gamma: x * (F(1) / np.sqrt(total(x * x) / F(x.shape[-1]) + EPSILON)) * gamma


def cumsum_blocked(x):
    parts = np.add.accumulate(x.reshape(x.shape[0], -1, BLOCK), axis=-1, dtype=F)
    carry = np.add.accumulate(parts[..., -1], axis=-1, dtype=F) - parts[..., -1]
    return (parts + carry[..., None]).reshape(x.shape)


def cumsum_doubling(x):
    """Hillis and Steele (1986): log n passes."""
    step = 1
    while step < x.shape[1]:
        x = np.concatenate([x[:, :step], x[:, step:] + x[:, :-step]], axis=1)
        step *= 2
    return x


def matmul_sequential(a, b):
    c = np.zeros((a.shape[0], b.shape[1]), F)
    for p in range(a.shape[1]):
        c += a[:, p, None] * b[p]
    return c


def matmul_blocked(a, b):
    return sum((matmul_sequential(a[:, p : p + 64], b[p : p + 64]) for p in range(0, a.shape[1], 64)), np.zeros((1, 1), F))


def matmul_in(bits):
    return lambda a, b: matmul_blocked(round_mantissa(a, bits), round_mantissa(b, bits))


def attention_plain(q, k, v):
    return softmax_by(sequential)(q @ k.transpose(0, 2, 1) * F(q.shape[-1] ** -0.5)) @ v


def flash(rounded=lambda values: values, keys=None, shift=True):
    def run(q, k, v):
        q, k, v = (values.astype(F) for values in (q, k, v))
        heads, length, width = q.shape
        largest, total = np.full((heads, length, 1), -np.inf if shift else 0, F), np.zeros((heads, length, 1), F)
        out = np.zeros(q.shape, F)
        for at in range(0, keys or length, 32):
            scores = q @ k[:, at : at + 32].transpose(0, 2, 1) * F(width**-0.5)
            new = np.maximum(largest, scores.max(-1, keepdims=True)) if shift else largest
            p, decay = np.exp(scores - new), np.exp(largest - new)
            total = total * decay + p.sum(-1, keepdims=True, dtype=F)
            out = out * decay + rounded(p) @ rounded(v[:, at : at + 32])
            largest = new
        return out / total

    return run


def as_half(values):
    return values.astype(np.float16).astype(F)


def as_bf16(values):
    return round_mantissa(values, 7)


Kernel = Callable[..., Any]
HONEST: dict[str, tuple[tuple[str, ...], Kernel]] = {
    "softmax sequential": (("softmax",), softmax_by(sequential)),
    "softmax blocked": (("softmax",), softmax_by(blocked)),
    "softmax pairwise": (("softmax",), softmax_by(pairwise)),
    "softmax online": (("softmax",), softmax_online),
    "softmax by exp2 and reciprocal": (("softmax",), softmax_exp2),
    "softmax stored in half": (("softmax", "float32", "float16"), lambda x: softmax_by(blocked)(x.astype(F))),
    "layernorm sequential": (("layernorm",), layernorm_by(sequential)),
    "layernorm blocked": (("layernorm",), layernorm_by(blocked)),
    "layernorm pairwise": (("layernorm",), layernorm_by(pairwise)),
    "layernorm Welford": (("layernorm",), layernorm_welford),
    "layernorm merged": (("layernorm",), layernorm_merged),
    "layernorm stored in half": (("layernorm", "float32", "float16"), lambda *a: layernorm_by(blocked)(*(v.astype(F) for v in a))),
    "rmsnorm sequential": (("rmsnorm",), rmsnorm_by(sequential)),
    "rmsnorm blocked": (("rmsnorm",), rmsnorm_by(blocked)),
    "rmsnorm stored in half": (("rmsnorm", "float32", "float16"), lambda x, g: rmsnorm_by(blocked)(x.astype(F), g.astype(F))),
    "cumsum sequential": (("cumsum",), lambda x: np.add.accumulate(x, axis=-1, dtype=F)),
    "cumsum blocked": (("cumsum",), cumsum_blocked),
    "cumsum by doubling": (("cumsum",), cumsum_doubling),
    "matmul sequential": (("matmul",), matmul_sequential),
    "matmul blocked": (("matmul",), matmul_blocked),
    "matmul BLAS": (("matmul",), lambda a, b: a @ b),
    "matmul in tf32, declared": (("matmul", "tf32"), matmul_in(10)),
    "matmul in float16, declared": (("matmul", "float16"), lambda a, b: matmul_blocked(as_half(a), as_half(b))),
    "matmul in bfloat16, declared": (("matmul", "bfloat16"), matmul_in(7)),
    "attention plain": (("attention",), attention_plain),
    "attention flash": (("attention",), flash()),
    "attention flash in half, declared": (("attention", "float16", "float16"), flash(as_half)),
    "attention flash in bfloat16, declared": (("attention", "bfloat16"), lambda *a: as_bf16(flash(as_bf16)(*a))),
    "transpose": (("transpose",), lambda x: x.T),
}


def layernorm_cheat(*, epsilon=EPSILON, mean=None, variance=None, counted=None):
    def run(x, gamma, beta):
        part = x[:, :counted]
        m = part.mean(-1, keepdims=True) if mean is None else F(mean)
        v = ((part - m) ** 2).mean(-1, keepdims=True) if variance is None else F(variance)
        return (x - m) / np.sqrt(v + epsilon) * gamma + beta

    return run


def half_exp(x):
    e = as_half(np.exp(as_half(x - x.max(-1, keepdims=True))))
    return e / blocked(e)


def half_row(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / (2 * e[:, ::2].sum(-1, keepdims=True))


def half_carries(x):
    y = cumsum_blocked(x)
    return y - np.repeat(y[:, ::BLOCK] - as_half(y[:, ::BLOCK]), BLOCK, axis=1)


def stale_tail(x):
    y = softmax(x)
    y[:, -16:] = 0
    return y


CHEATS: dict[str, tuple[tuple[str, ...], Kernel]] = {
    "softmax with exp in half": (("softmax",), half_exp),
    "softmax with a bfloat16 result": (("softmax",), lambda x: as_bf16(softmax(x))),
    "softmax without the maximum": (("softmax",), lambda x: np.exp(x) / sequential(np.exp(x))),
    "softmax over half a row": (
        ("softmax",),
        lambda x: (e := np.exp(x - x.max(-1, keepdims=True))) / (2 * e[:, ::2].sum(-1, keepdims=True)),
    ),
    "softmax with the expected sum": (("softmax",), lambda x: np.exp(x) / F(x.shape[-1] * np.exp(0.5))),
    "softmax with a stale last tile": (("softmax",), stale_tail),
    "softmax that is uniform": (("softmax",), lambda x: np.full(x.shape, 1 / x.shape[1], F)),
    "layernorm without epsilon": (("layernorm",), layernorm_cheat(epsilon=F(0))),
    "layernorm with mean 0": (("layernorm",), layernorm_cheat(mean=0)),
    "layernorm with variance 1": (("layernorm",), layernorm_cheat(variance=1)),
    "layernorm over half a row": (("layernorm",), layernorm_cheat(counted=4096)),
    "layernorm in half": (("layernorm",), lambda x, g, b: layernorm_cheat()(as_half(x), g, b)),
    "rmsnorm without epsilon": (("rmsnorm",), lambda x, g: x / np.sqrt((x**2).mean(-1, keepdims=True)) * g),
    "rmsnorm with the expected norm": (("rmsnorm",), lambda x, g: x / np.sqrt(F(1) + EPSILON) * g),
    "cumsum with carries in half": (("cumsum",), half_carries),
    "cumsum rounded to tf32": (("cumsum",), lambda x: round_mantissa(cumsum(x), 10)),
    "matmul in tf32, undeclared": (("matmul",), matmul_in(10)),
    "matmul in bfloat16, declared half": (("matmul", "float16"), matmul_in(7)),
    "matmul over half the sum": (("matmul",), lambda a, b: a[:, :512] @ b[:512]),
    "attention with bfloat16 weights": (("attention",), flash(as_bf16)),
    "attention in fp8, declared bfloat16": (("attention", "bfloat16"), flash(lambda v: round_mantissa(v, 3))),
    "attention without the maximum": (("attention",), flash(shift=False)),
    "attention without the last keys": (("attention",), flash(keys=128)),
    "transpose through half": (("transpose",), lambda x: as_half(x).T),
    "transpose that copies": (("transpose",), lambda x: x.reshape(67, 130)),
    "zeros": (("rmsnorm",), lambda x, g: np.zeros_like(x)),
}


def answer(kernel: Kernel, case: Case):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(kernel(*case.inputs)).astype(case.problem.outputs[0].dtype)


def statistic(kernel: Kernel, key: tuple[str, ...], distribution: str) -> float:
    """Largest s over 20 draws, the same in every run, nothing forgiven."""
    number = itertools.count()
    supply = CaseSupply(problem(*key), entropy=lambda size: next(number).to_bytes(size, "little"))
    drawn = supply.verification(SIZES[key[0]], [distribution], 20)
    values = ((answer(kernel, case), case) for case in drawn)
    return max(library().compare(got, case.expected[0], case.half_rms[0], None, np.inf).max_s for got, case in values)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_kernel_passes_every_draw_of_every_distribution(name):
    key, kernel = HONEST[name]
    findings = [judge(problem(*key), case, [answer(kernel, case)]) for case in cases(*key)]
    assert len(findings) == 30
    assert [finding.message for finding in findings if finding is not None] == []


@pytest.mark.parametrize("name", [name for name, (key, _) in HONEST.items() if key[0] == "matmul" and len(key) > 1])
def test_a_product_rounded_to_the_declared_format_is_right_where_large_terms_cancel(name):
    key, kernel = HONEST[name]
    number = itertools.count()
    supply = CaseSupply(problem(*key), entropy=lambda size: next(number).to_bytes(size, "little"))
    drawn = list(supply.verification(SIZES[key[0]], ["x100"], 200))
    findings = [judge(problem(*key), case, [answer(kernel, case)]) for case in drawn]
    assert [finding.message for finding in findings if finding is not None] == []
    assert any("declared_shift" in vars(case) for case in drawn), "none of these would have failed"


@pytest.mark.parametrize(("compute", "bits"), [("float16", 9), ("bfloat16", 6), ("tf32", 8)])
@pytest.mark.parametrize("distribution", ["normal", "x0.01", "x100", "sparse"])
def test_a_product_of_less_precision_than_declared_is_wrong_every_time(compute, bits, distribution):
    number = itertools.count()
    supply = CaseSupply(problem("matmul", compute), entropy=lambda size: next(number).to_bytes(size, "little"))
    for case in supply.verification(SIZES["matmul"], [distribution], 10):
        assert judge(case.problem, case, [answer(matmul_in(bits), case)]) is not None


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_fails_on_some_distribution(name):
    key, kernel = CHEATS[name]
    caught = {case.distribution for case in cases(*key) if judge(problem(*key), case, [answer(kernel, case)]) is not None}
    assert caught, f"{name} passes all {DISTRIBUTIONS}"


@pytest.mark.parametrize(
    ("name", "distribution", "flat"),
    [
        ("softmax sequential", "sparse", 1e-5),
        ("layernorm sequential", "sparse", 1e-5),
        ("attention flash", "x100", 1e-5),
        ("attention flash in bfloat16, declared", "normal", 8e-3),
    ],
)
def test_a_flat_tolerance_would_reject_an_honest_kernel(name, distribution, flat):
    key, kernel = HONEST[name]
    assert statistic(kernel, key, distribution) > flat


@pytest.mark.parametrize(
    ("name", "distribution", "flat"),
    [("matmul in tf32, undeclared", "normal", 8e-3), ("softmax with exp in half", "normal", 8e-3)],
)
def test_a_tolerance_flat_enough_for_half_precision_would_let_a_cheat_pass(name, distribution, flat):
    key, kernel = CHEATS[name]
    assert statistic(kernel, key, distribution) < flat
    assert statistic(kernel, key, distribution) > limits(problem(*key), SIZES[key[0]], distribution, problem(*key).outputs[0]).s
