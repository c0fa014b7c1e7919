"""What machine code says about a kernel: registers, shared memory, and how it touches memory and computes. Standard library only.

Reads the listings of `cuobjdump -sass` and `cuobjdump -res-usage`, and AMD's assembly as far as its metadata go.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["COMPUTE_PATTERNS", "MEMORY_PATTERNS", "from_amdgcn", "read", "resources", "split"]

Fact = bool | int | float | str

MEMORY_PATTERNS = ("scalar", "vector", "shared", "pipeline", "tma")
"""Widest way in which global memory is read: words, 8- or 16-byte vectors, staged through shared memory by hand, asynchronous copies
into shared memory, bulk tensor copies."""
COMPUTE_PATTERNS = ("fma", "mma", "wgmma")

_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)*)")
_FUNCTION = re.compile(r"^\s*Function : (\S+)\s*$", re.MULTILINE)
_RESOURCE = re.compile(r"(REG|STACK|SHARED|LOCAL):(\d+)")


def read(listing: str) -> dict[str, Fact]:
    """Facts of one kernel's listing. Without a listing everything is 0 and the patterns are the plainest."""
    count: Counter[str] = Counter()
    widest_load = widest_store = 0
    for line in listing.splitlines():
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        name, *modifiers = found[1].split(".")
        count["all"] += 1
        count[name] += 1
        width = 16 if "128" in modifiers else 8 if "64" in modifiers else 4
        if name == "LDG":
            widest_load = max(widest_load, width)
        elif name == "STG":
            widest_store = max(widest_store, width)
    tma = count["UTMALDG"] + count["UTMASTG"] + count["UBLKCP"]
    pipeline = count["LDGSTS"]
    shared = count["STS"] + count["STSM"]
    memory = "tma" if tma else "pipeline" if pipeline else "shared" if shared > 8 and count["LDS"] + count["LDSM"] > 8 else None
    if memory is None:
        memory = "vector" if max(widest_load, widest_store) > 4 else "scalar"
    wgmma, mma = count["HGMMA"] + count["QGMMA"] + count["IGMMA"], count["HMMA"] + count["IMMA"] + count["QMMA"] + count["DMMA"]
    return {
        "instructions": count["all"],
        "load_bytes": widest_load,
        "store_bytes": widest_store,
        "memory_pattern": memory,
        "compute_pattern": "wgmma" if wgmma else "mma" if mma else "fma",
        "atomics": count["ATOM"] + count["ATOMG"] + count["RED"] + count["REDG"] + count["ATOMS"],
        "barriers": count["BAR"] + count["SYNCS"],
        "special": count["MUFU"],
        "spill_instructions": count["LDL"] + count["STL"],
    }


def split(listing: str) -> dict[str, str]:
    """The listing of each function by its mangled name, of a listing of several."""
    _, *rest = _FUNCTION.split(listing)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def resources(text: str) -> dict[str, Fact]:
    """registers a thread, stack and local bytes a thread, static shared bytes, from `-res-usage`; 0 where it says nothing."""
    found = {name: int(value) for name, value in _RESOURCE.findall(text)}
    return {"registers": found.get("REG", 0), "stack_bytes": found.get("STACK", 0), "static_shared": found.get("SHARED", 0)}


def from_amdgcn(text: str) -> dict[str, Fact]:
    """The same facts from AMD's assembly, whose metadata name registers and spills."""

    def meta(key: str) -> int:
        found = re.search(rf"\.{key}:\s*(\d+)", text)
        return int(found[1]) if found else 0

    wide = bool(re.search(r"global_load_(dwordx[24]|b64|b128)", text))
    facts = read("")
    facts |= {
        "instructions": len(re.findall(r"^\s+[vs]_\w+|^\s+global_\w+|^\s+ds_\w+", text, re.MULTILINE)),
        "memory_pattern": "vector" if wide else "scalar",
        "compute_pattern": "mma" if "mfma" in text else "fma",
        "spill_instructions": meta("vgpr_spill_count"),
        "registers": meta("vgpr_count"),
        "stack_bytes": meta("private_segment_fixed_size"),
        "static_shared": meta("group_segment_fixed_size"),
    }
    return facts
