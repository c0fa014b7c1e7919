"""Machine code of a built kernel as instructions, what is reachable from an entry point, and how deep in loops each is.

Read from `objdump` (binutils) or `llvm-objdump`. x86-64 only is understood; other machines give no instructions.
"""

from __future__ import annotations

import bisect
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fitness.targets.base import TargetError
from fitness.targets.commands import CommandRunner

__all__ = ["Code", "Instruction", "disassemble", "find_disassembler", "parse"]

MEMORY = 1 << 30
OUTPUT = 64 << 20

_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(.*)$")
_FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$")
_OFFSET = re.compile(r"[+-]0x[0-9a-f]+$")
_TARGET = re.compile(r"^([0-9a-f]+)(?: <([^>]+)>)?")
_PREFIXES = frozenset(
    {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs", "ds", "es", "fs", "gs", "ss", "addr32", "{evex}", "{vex}"}
)


@dataclass(frozen=True, slots=True)
class Instruction:
    address: int
    size: int
    """Bytes up to the next instruction of the listing."""
    mnemonic: str
    operands: str
    """AT&T syntax, comments removed."""
    target: int | None
    """Address that a direct jump or call goes to, or that `lea` takes (of a function handed on, or of data)."""
    symbol: str
    """Name that objdump gives this address, e.g. `expf@plt`."""

    @property
    def is_call(self) -> bool:
        return self.mnemonic.startswith("call")

    @property
    def is_jump(self) -> bool:
        return self.mnemonic.startswith("j")

    @property
    def ends(self) -> bool:
        """Whether control never comes to the next instruction."""
        return self.mnemonic.startswith(("jmp", "ret", "hlt", "ud2"))


@dataclass(frozen=True, slots=True)
class Code:
    """What is reachable from one entry point."""

    instructions: tuple[Instruction, ...]
    """By address."""
    depth: tuple[int, ...]
    """Loops around each instruction; a function called from a loop counts that loop too."""
    imports: tuple[str, ...]
    """Functions of other libraries that are called, by name."""
    indirect: int
    """Jumps and calls whose destination only the run decides."""

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.instructions)


def find_disassembler() -> Path:
    """`objdump`, else `llvm-objdump` (versioned names included). Raises `TargetError`."""
    for name in ("objdump", "llvm-objdump", *(f"llvm-objdump-{number}" for number in range(30, 10, -1))):
        if (path := shutil.which(name)) is not None:
            return Path(path)
    advice = "Install one (Debian, Ubuntu: `apt install binutils`)."
    raise TargetError(f"found no disassembler (looked for objdump and llvm-objdump in PATH). {advice}")


def disassemble(path: Path, run: CommandRunner, disassembler: Path, *, timeout: float = 30.0) -> str:
    """The listing of a shared object's code. Raises `TargetError` when the disassembler fails."""
    argv = [str(disassembler), "-d", "--no-show-raw-insn", str(path)]
    done = run(argv, read=(path,), timeout=timeout, memory=MEMORY, output_limit=OUTPUT)
    if done.ended != "exit" or done.status != 0:
        raise TargetError(f"{disassembler} could not read {path} ({done.ended}, status {done.status}): {done.output[-500:]}")
    return done.output


def parse(listing: str) -> tuple[dict[int, str], list[Instruction]]:
    """Function starts (address → name) and every instruction, by address."""
    starts: dict[int, str] = {}
    rows: list[tuple[int, str, str, str]] = []
    for line in listing.splitlines():
        match = _INSTRUCTION.match(line)
        if match is not None:
            text, _, comment = match[2].partition("#")
            words = text.split(None, 1)
            while words and words[0] in _PREFIXES and len(words) > 1:
                words = words[1].split(None, 1)
            if words and words[0] != "...":
                rows.append((int(match[1], 16), words[0], words[1].strip() if len(words) > 1 else "", comment.strip()))
        elif (start := _FUNCTION.match(line)) is not None and not _OFFSET.search(start[2]):
            starts[int(start[1], 16)] = start[2].partition("@@")[0]
    rows.sort()
    found = []
    for index, (address, mnemonic, operands, comment) in enumerate(rows):
        following = rows[index + 1][0] if index + 1 < len(rows) else address + 1
        target, symbol = _destination(mnemonic, comment if mnemonic == "lea" else operands)
        found.append(Instruction(address, min(following - address, 15), mnemonic, operands, target, symbol))
    return starts, found


def reachable(starts: Mapping[int, str], instructions: Sequence[Instruction], entry: str = "kernel") -> Code:
    """What `entry` reaches by direct jumps and calls, and through functions whose address it takes.

    After an indirect jump the instructions behind it count as reachable too.
    """
    index_of = {each.address: index for index, each in enumerate(instructions)}
    begin = next((address for address, name in starts.items() if name == entry), None)
    if begin is None or begin not in index_of:
        return Code((), (), (), 0)
    seen: set[int] = set()
    functions: dict[int, set[int]] = {}
    calls: dict[int, list[tuple[int, int]]] = {}
    imports: dict[str, None] = {}
    indirect = 0
    waiting = [begin]
    while waiting:
        function = waiting.pop()
        if function in functions:
            continue
        body = functions[function] = set()
        calls[function] = []
        edge = [index_of[function]]
        while edge:
            index = edge.pop()
            if index in body or index >= len(instructions):
                continue
            body.add(index)
            each = instructions[index]
            if each.is_call or (each.is_jump and each.symbol.endswith("@plt")):
                if each.symbol.endswith("@plt"):
                    imports[each.symbol.removesuffix("@plt").removeprefix("*ABS*")] = None
                elif each.target in index_of:
                    calls[function].append((index, each.target))
                    waiting.append(each.target)
                else:
                    indirect += 1
            elif each.mnemonic == "lea" and each.target in index_of:
                calls[function].append((index, each.target))  # its address is handed to a runtime that calls it
                waiting.append(each.target)
            elif each.is_jump:
                if each.target in index_of:
                    edge.append(index_of[each.target])
                elif each.target is None:
                    indirect += 1
                    edge.append(index + 1)
            if not each.ends:
                edge.append(index + 1)
        seen |= body
    order = sorted(seen)
    depth = _depths(instructions, functions, calls, begin, index_of)
    return Code(tuple(instructions[i] for i in order), tuple(depth.get(i, 0) for i in order), tuple(imports), indirect)


def _depths(
    instructions: Sequence[Instruction],
    functions: Mapping[int, set[int]],
    calls: Mapping[int, list[tuple[int, int]]],
    begin: int,
    index_of: Mapping[int, int],
) -> dict[int, int]:
    """Loops around each instruction: distinct targets of backward jumps whose span covers it, plus those around the call."""
    own: dict[int, dict[int, int]] = {}
    for function, body in functions.items():
        spans: dict[int, int] = {}
        for index in body:
            each = instructions[index]
            if each.is_jump and each.target is not None and each.target <= each.address and index_of.get(each.target) in body:
                head = index_of[each.target]
                spans[head] = max(spans.get(head, head), index)
        heads, ends = sorted(spans), sorted(spans.values())
        # loops open before an instruction minus those closed before it
        own[function] = {i: bisect.bisect_right(heads, i) - bisect.bisect_left(ends, i) for i in body}
    outer = {begin: 0}
    waiting = [begin]
    while waiting:  # bounded: a recursion deepens at most to the cap
        function = waiting.pop()
        for index, callee in calls[function]:
            deeper = min(8, outer[function] + own[function][index])
            if callee not in outer or deeper > outer[callee]:
                outer[callee] = deeper
                waiting.append(callee)
    depth: dict[int, int] = {}
    for function, inner in own.items():
        for index, value in inner.items():
            depth[index] = max(depth.get(index, 0), min(8, value + outer.get(function, 0)))
    return depth


def _destination(mnemonic: str, operands: str) -> tuple[int | None, str]:
    if not mnemonic.startswith(("j", "call", "lea")) or operands.startswith("*"):
        return None, ""
    match = _TARGET.match(operands)
    return (int(match[1], 16), match[2] or "") if match else (None, "")
