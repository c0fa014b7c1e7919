"""The measured facts of a kernel's machine code that descriptors, prompts and readers use.

Facts (keys of the profile):

* `vector_bits`: width of the floating-point vectors that do most of the arithmetic (or, in a kernel without any, of the packed
  loads and stores); 0 is scalar. Instructions inside loops count by their lanes, so that scalar remainders, which are as many
  instructions at the same depth or deeper, do not hide the loop that does the work.
* `memory_pattern`: how memory is touched, the most particular first: `gather` (vector gathers or scatters), `streaming`
  (non-temporal stores), `prefetch` (software prefetches), `vector` (packed loads or stores), `scalar`.
* `fma`, `gathers`, `streaming_stores`, `prefetches`, `vector_loads`, `vector_stores`, `unaligned`, `divisions`, `shuffles`,
  `spills`, `branches`, `calls`: static counts over all code reachable from `kernel`. `spills` estimates: vector moves to and
  from the stack. `loop_depth`: deepest loop nest.
* `code_bytes`, `instructions`: of that code. `library_calls`: names of imported functions it calls, joined by blanks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from archive.tunables import Value
from fitness.targets.disassembly import Code, Instruction

__all__ = ["MEMORY_PATTERNS", "instruction_mix"]

MEMORY_PATTERNS = ("scalar", "vector", "prefetch", "streaming", "gather")

_ARITHMETIC = re.compile(r"v?(fn?m(add|sub)(add|sub)?\d*|add|sub|mul|div|max|min|sqrt|rcp\d*|rsqrt\d*|scalef|rndscale|round|dp)p[sdh]")
_PACKED = re.compile(
    _ARITHMETIC.pattern + r"|v?(and|andn|or|xor|cmp\w*|getexp|getmant|hadd|addsub|reduce|fixupimm|range|cvt\w+)p[sdh]|vcvt\w+"
)
_SCALAR_ARITHMETIC = re.compile(r"v?(fn?m(add|sub)\d*|add|sub|mul|div|max|min|sqrt)s[sdh]")
_FMA = re.compile(r"vfn?m(add|sub)(add|sub)?\d*[ps][sdh]")
_MOVE = re.compile(r"v?(mov(u|a)p[sd]|movdq[ua](8|16|32|64)?|lddqu)")
_BROADCAST = re.compile(r"vbroadcast\w+|vpbroadcast\w+")
_SHUFFLE = re.compile(
    r"v?(p?shuf\w*|p?unpck\w+|p?perm\w*|p?blend\w*|palignr|insert\w*|extract\w*|align[dq]|mov(hlps|lhps)|compress\w+|expand\w+)"
)
_STACK = re.compile(r"\(%r[sb]p[,)]")
_REGISTER = re.compile(r"%([xyz])mm\d+")
LANE = 32
"""Bits of one lane: single precision. For double precision every width is counted alike, so the order is the same."""
_BITS = {"x": 128, "y": 256, "z": 512}


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of one kernel; one pass over its instructions."""

    fma: int
    gathers: int
    streaming_stores: int
    prefetches: int
    vector_loads: int
    vector_stores: int
    unaligned: int
    divisions: int
    shuffles: int
    spills: int
    branches: int
    calls: int


def instruction_mix(code: Code) -> dict[str, Value]:
    """The facts above; zeros and `scalar` for code that could not be read."""
    counts = _count(code)
    facts: dict[str, Value] = {name: getattr(counts, name) for name in _Counts.__dataclass_fields__}
    facts["vector_bits"] = _vector_bits(code)
    facts["memory_pattern"] = _memory_pattern(counts)
    facts["loop_depth"] = max(code.depth, default=0)
    facts["code_bytes"] = code.bytes
    facts["instructions"] = len(code.instructions)
    facts["library_calls"] = " ".join(sorted(code.imports))
    facts["indirect_jumps"] = code.indirect
    return facts


def _count(code: Code) -> _Counts:
    found = dict.fromkeys(_Counts.__dataclass_fields__, 0)
    for each in code.instructions:
        name, operands = each.mnemonic, each.operands
        memory = "(" in operands
        found["fma"] += bool(_FMA.fullmatch(name))
        found["gathers"] += name.startswith(("vgather", "vpgather", "vscatter", "vpscatter"))
        found["streaming_stores"] += name.startswith(("movnt", "vmovnt")) and not name.endswith("dqa")
        found["prefetches"] += name.startswith("prefetch")
        found["divisions"] += bool(re.fullmatch(r"v?(div|sqrt)[ps][sdh]", name))
        found["shuffles"] += bool(_SHUFFLE.fullmatch(name))
        found["branches"] += each.is_jump and name != "jmp"
        found["calls"] += each.is_call
        if memory and _MOVE.fullmatch(name):
            stack, store = bool(_STACK.search(operands)), operands.endswith(")")
            found["spills"] += stack
            if not stack:
                found["vector_stores" if store else "vector_loads"] += 1
                found["unaligned"] += bool(re.search(r"movu|movdqu|lddqu", name))
        elif memory and _REGISTER.search(operands) and (_PACKED.fullmatch(name) or _BROADCAST.fullmatch(name)):
            found["vector_loads"] += 1
    return _Counts(**found)


def _memory_pattern(counts: _Counts) -> str:
    if counts.gathers:
        return "gather"
    if counts.streaming_stores:
        return "streaming"
    if counts.prefetches:
        return "prefetch"
    return "vector" if counts.vector_loads or counts.vector_stores else "scalar"


def _vector_bits(code: Code) -> int:
    """By the arithmetic inside loops, else by all of it; without any, by packed moves."""
    pairs = list(zip(code.instructions, code.depth, strict=True))
    for pattern, scalar in ((_ARITHMETIC, _SCALAR_ARITHMETIC), (_MOVE, None)):
        for least in (1, 0):
            lanes: dict[int, int] = {}
            for each, depth in pairs:
                if depth < least:
                    continue
                moved = scalar is None and "(" not in each.operands  # a copy between registers says nothing about the work
                if pattern.fullmatch(each.mnemonic) and not moved and not _STACK.search(each.operands):
                    width = _width(each)
                    lanes[width] = lanes.get(width, 0) + width // LANE
                elif scalar is not None and scalar.fullmatch(each.mnemonic):
                    lanes[0] = lanes.get(0, 0) + 1
            if lanes:
                return max(lanes, key=lambda width: (lanes[width], width))
    return 0


def _width(each: Instruction) -> int:
    return max((_BITS[letter] for letter in _REGISTER.findall(each.operands)), default=0)
