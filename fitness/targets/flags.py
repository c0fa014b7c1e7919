"""`EVO_FLAGS`: which compiler flags a kernel may ask for.

An explicit list of flags that change the code generated from the same text, and nothing else: none that reads or writes
a file, loads a plug-in, runs a program, adds a library or changes the language. Advisory like all of the policy; the
compiler runs in the sandbox whatever its flags.
"""

from __future__ import annotations

import re
import shlex

__all__ = ["DEFAULT_FLAGS", "FLAGS_TUNABLE", "FlagError", "is_code_generation_flag", "parse_flags"]

FLAGS_TUNABLE = "EVO_FLAGS"
DEFAULT_FLAGS = "-O3"
"""Used where a kernel declares no `EVO_FLAGS`."""
MAX_FLAGS = 64

# names of on/off switches: -fNAME and -fno-NAME
_SWITCH_NAMES = """
aggressive-loop-optimizations allow-store-data-races associative-math auto-inc-dec branch-count-reg caller-saves code-hoisting
combine-stack-adjustments compare-elim conserve-stack cprop-registers crossjumping cse-follow-jumps cse-skip-blocks cx-limited-range
cx-fortran-rules dce defer-pop delete-null-pointer-checks dse early-inlining expensive-optimizations fast-math finite-loops
finite-math-only fold-simple-inlines float-store forward-propagate gcse gcse-after-reload gcse-las gcse-lm gcse-sm graphite
graphite-identity guess-branch-probability hoist-adjacent-loads if-conversion if-conversion2 indirect-inlining inline
inline-functions inline-functions-called-once inline-small-functions ipa-bit-cp ipa-cp ipa-cp-clone ipa-icf ipa-modref ipa-profile
ipa-pta ipa-pure-const ipa-ra ipa-reference ipa-sra ipa-strict-aliasing ipa-vrp ira-hoist-pressure ira-loop-pressure
isolate-erroneous-paths-dereference ivopts jump-tables lifetime-dse live-range-shrinkage loop-block loop-interchange
loop-nest-optimize loop-parallelize-all loop-strip-mine loop-unroll-and-jam math-errno merge-all-constants merge-constants
modulo-sched modulo-sched-allow-regmoves openmp-simd move-loop-invariants move-loop-stores omit-frame-pointer optimize-sibling-calls
partial-inlining peel-loops peephole peephole2 predictive-commoning prefetch-loop-arrays reciprocal-math ree rename-registers
reorder-blocks reorder-blocks-and-partition reorder-functions rerun-cse-after-loop rounding-math sched-critical-path-heuristic
sched-dep-count-heuristic sched-group-heuristic sched-interblock sched-last-insn-heuristic sched-pressure sched-rank-heuristic
sched-spec sched-spec-insn-heuristic sched-spec-load sched2-use-superblocks schedule-fusion schedule-insns schedule-insns2
section-anchors sel-sched-pipelining selective-scheduling selective-scheduling2 short-enums shrink-wrap shrink-wrap-separate
signaling-nans signed-zeros single-precision-constant slp-vectorize slp-vectorize-aggressive split-ivs-in-unroller split-loops
split-paths split-wide-types split-wide-types-early ssa-backprop ssa-phiopt stdarg-opt store-merging strict-aliasing
strict-overflow strict-volatile-bitfields thread-jumps toplevel-reorder tracer trapping-math tree-bit-ccp tree-builtin-call-dce
tree-ccp tree-ch tree-coalesce-vars tree-copy-prop tree-cselim tree-dce tree-dominator-opts tree-dse tree-forwprop tree-fre
tree-loop-distribute-patterns tree-loop-distribution tree-loop-if-convert tree-loop-im tree-loop-ivcanon tree-loop-linear
tree-loop-optimize tree-loop-vectorize tree-partial-pre tree-phiprop tree-pre tree-pta tree-reassoc tree-scev-cprop tree-sink
tree-slp-vectorize tree-slsr tree-sra tree-switch-conversion tree-tail-merge tree-ter tree-vectorize tree-vrp unconstrained-commons
unroll-all-loops unroll-completely-grow-size unroll-loops unsafe-math-optimizations unswitch-loops
unwind-tables variable-expansion-in-unroller
vectorize version-loops-for-strides vpt web wrapv wrapv-pointer honor-nans honor-infinities approx-func strict-float-cast-overflow
rtti exceptions
"""

_VALUED = [
    r"-O([0-3gsz]|fast)?",
    r"-falign-(functions|jumps|labels|loops)(=\d{1,5}(:\d{1,5}){0,3})?",
    r"-ffp-contract=(fast|on|off)",
    r"-ffp-model=(precise|strict|fast|aggressive)",
    r"-ffp-exception-behavior=(ignore|maytrap|strict)",
    r"-fexcess-precision=(fast|standard|16)",
    r"-fdenormal-fp-math=(ieee|preserve-sign|positive-zero)",
    r"-f(vect|simd)-cost-model=(unlimited|dynamic|cheap|very-cheap)",
    r"-f(no-)?(vect|simd)-cost-model",
    r"-finline-limit=\d{1,6}",
    r"-finline-hint-functions",
    r"-fira-algorithm=(priority|CB)",
    r"-fira-region=(all|mixed|one)",
    r"-fivopts",
    r"-flive-patching=(inline-clone|inline-only-static)",
    r"-freorder-blocks-algorithm=(simple|stc)",
    r"-fsched-stalled-insns(-dep)?(=\d{1,4})?",
    r"-fpack-struct=(1|2|4|8|16)",
    r"-fveclib=(libmvec|none)",
    r"-mprefer-vector-width=(none|128|256|512)",
    r"-m(tune|arch|cpu)=[A-Za-z0-9][A-Za-z0-9.+_-]{0,40}",
    r"-m(no-)?(mmx|sse|sse2|sse3|ssse3|sse4|sse4\.1|sse4\.2|sse4a|avx|avx2|fma|fma4|f16c|bmi|bmi2|lzcnt|popcnt|adx|abm|movbe|aes|sha|gfni|vaes|vpclmulqdq|pclmul)",
    r"-m(no-)?avx512(f|cd|dq|bw|vl|er|pf|vbmi|vbmi2|ifma|vnni|bf16|fp16|bitalg|vpopcntdq|vp2intersect)",
    r"-m(no-)?(avxvnni|avxifma|avxneconvert|avxvnniint8|prfchw|clflushopt|clwb|movdiri|movdir64b|evex512|amx-(tile|int8|bf16))",
    r"-m(no-)?(vzeroupper|avx256-split-unaligned-(load|store)|accumulate-outgoing-args|align-stringops|inline-all-stringops"
    r"|inline-stringops-dynamically|ieee-fp|fancy-math-387|push-args|red-zone|sse2avx|cld|sahf|recip|relax-cmpxchg-loop|tls-direct-seg-refs|unroll-only-small-loops)",
    r"-mrecip=!?(all|default|none|div|sqrt|vec-div|vec-sqrt)(,!?(all|default|none|div|sqrt|vec-div|vec-sqrt))*",
    r"-mfpmath=(sse|387|both|sse,387|387,sse|sse\+387)",
    r"-mbranch-cost=\d",
    r"-mlarge-data-threshold=\d{1,9}",
    r"-mmove-max=(128|256|512)",
    r"-mstore-max=(128|256|512)",
    r"-mstringop-strategy=(rep_byte|rep_4byte|rep_8byte|byte_loop|loop|unrolled_loop|vector_loop|libcall)",
    r"-mpreferred-stack-boundary=[4-7]",
    r"-mstackrealign",
    r"-minline-all-stringops",
]

_PARAMETER_NAMES = """
avg-loop-niter early-inlining-insns gcse-cost-distance-ratio inline-heuristics-hint-percent inline-min-speedup inline-unit-growth
ipa-cp-eval-threshold ipa-cp-loop-hint-bonus iv-consider-all-candidates-bound iv-max-considered-uses l1-cache-line-size l1-cache-size
l2-cache-size large-function-growth large-function-insns large-stack-frame large-stack-frame-growth large-unit-insns
loop-block-tile-size loop-interchange-max-num-stmts loop-interchange-stride-ratio loop-max-datarefs-for-datadeps
max-average-unrolled-insns max-combine-insns max-completely-peel-loop-nest-depth max-completely-peel-times max-completely-peeled-insns
max-gcse-memory max-inline-insns-auto max-inline-insns-recursive max-inline-insns-recursive-auto max-inline-insns-single
max-inline-insns-size max-inline-insns-small max-modulo-backtrack-attempts max-once-peeled-insns max-peel-branches max-peel-times
max-peeled-insns max-sched-region-blocks max-sched-region-insns max-unroll-times max-unrolled-insns max-unswitch-insns
max-unswitch-level min-insn-to-prefetch-ratio min-vect-loop-bound prefetch-dynamic-strides prefetch-latency
prefetch-min-insn-to-mem-ratio prefetch-minimum-stride predictable-branch-outcome scev-max-expr-complexity scev-max-expr-size
sched-autopref-queue-depth sched-pressure-algorithm simultaneous-prefetches slp-max-insns-in-bb tracer-dynamic-coverage
unlikely-bb-count-fraction unroll-jam-max-unroll unroll-jam-min-percent uninlined-function-insns uninlined-function-time
vect-epilogues-nomask vect-induction-float vect-inner-loop-cost-factor vect-max-layout-candidates vect-max-peeling-for-alignment
vect-max-version-for-alias-checks vect-max-version-for-alignment-checks vect-partial-vector-usage max-reload-search-insns
"""

_SWITCH = re.compile("-f(no-)?(" + "|".join(map(re.escape, sorted(_SWITCH_NAMES.split()))) + ")")
_VALUE = re.compile("|".join(f"(?:{pattern})" for pattern in _VALUED))
_PARAMETER = re.compile("--param=(" + "|".join(map(re.escape, sorted(_PARAMETER_NAMES.split()))) + r")=\d{1,9}")
_REFUSED = frozenset({"-fexceptions", "-funwind-tables", "-frtti"})  # would change what the kernel may link to, not how it runs


class FlagError(Exception):
    """A flag that kernels may not set; the message names it and what is allowed instead."""


def is_code_generation_flag(flag: str) -> bool:
    """Whether `flag` (one word, `--param=NAME=N` joined) is on the list."""
    if flag in _REFUSED:
        return False
    return bool(_SWITCH.fullmatch(flag) or _VALUE.fullmatch(flag) or _PARAMETER.fullmatch(flag))


def parse_flags(text: str) -> tuple[str, ...]:
    """The words of an `EVO_FLAGS` string; `--param X=N` is joined to one word. Raises `FlagError`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise FlagError(f"{FLAGS_TUNABLE} is not a list of words ({error}): {text!r}. Write flags separated by blanks.") from error
    flags: list[str] = []
    pending = ""
    for word in words:
        flag = f"--param={word}" if pending else word
        if not pending and word == "--param":
            pending = word
            continue
        pending = ""
        if not is_code_generation_flag(flag):
            raise FlagError(f"{FLAGS_TUNABLE} has {flag!r}, which is no code-generation flag on the list. {_advice(flag)}")
        flags.append(flag)
    if pending:
        raise FlagError(f"{FLAGS_TUNABLE} ends in a bare --param. Write --param=NAME=NUMBER.")
    if len(flags) > MAX_FLAGS:
        raise FlagError(f"{FLAGS_TUNABLE} has {len(flags)} flags, at most {MAX_FLAGS} are allowed.")
    return tuple(flags)


def _advice(flag: str) -> str:
    if flag.startswith(("-l", "-L", "-Wl", "-B", "-Xlinker")):
        return "Kernels link to nothing but libm; remove it."
    if flag.startswith(("-fopenmp", "-fopenacc", "-pthread")):
        return "Threads are fixed by the config (`evaluation.threads`); `#pragma omp simd` works without a flag."
    if flag.startswith("-D"):
        return "Write a #define in the source instead."
    if flag.startswith("-std"):
        return "The language is GNU C++20; remove it."
    return "Use -O0…-O3, -Ofast, and the -f…, -m… and --param=… flags that change generated code only; remove this one."
