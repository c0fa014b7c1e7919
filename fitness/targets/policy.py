"""What a C++ kernel may contain: an allow-list over tokens.

Advisory: it refuses early, by line and with advice, what the sandbox and the census of the built object (`elf.py`) would
stop anyway. It is kept strict where a construct has no use in a numeric kernel:

* `#include <…>` of the headers below; never a path, a macro or another kernel's file.
* `#pragma` of vectorising, unrolling, optimising and targeting; `omp parallel` only with more than one thread.
* inline assembly only as an empty optimisation barrier (`asm volatile("" ::: "memory")`): intrinsics say the rest, and the
  compiler then knows the registers.
* no attributes that run code at load time, rename symbols or place sections.
* no process, file, network, thread, clock or random-number calls, by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from archive.evaluation import Diagnostic
from fitness.targets.ctokens import Directive, SourceError, Text, Token, read
from fitness.targets.flags import FlagError, is_code_generation_flag, parse_flags
from fitness.targets.vocabulary import (
    ALSO_ORDINARY,
    ATTRIBUTES,
    DIRECTIVES,
    FORBIDDEN_NAMES,
    FORBIDDEN_PREFIXES,
    HEADERS,
    MAX_SOURCE,
    NAMESPACES,
    STAMPS,
    THREAD_HEADERS,
)

__all__ = ["check_flags", "check_source"]

@dataclass(frozen=True, slots=True)
class Finding:
    line: int
    reason: str
    message: str


def check_source(source: str, *, threads: int = 1) -> Diagnostic | None:
    """The policy's answer to a text: None, or one diagnostic that lists every finding (up to 20), first by line."""
    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        return _diagnostic([Finding(1, "source_too_large", f"the source is longer than {MAX_SOURCE} bytes; shorten it")], source)
    if "\0" in source:
        line = source.count("\n", 0, source.index("\0")) + 1
        return _diagnostic([Finding(line, "malformed_source", f"line {line} has a NUL character; remove it")], source)
    try:
        text = read(source)
    except SourceError as error:
        return _diagnostic([Finding(error.line, "malformed_source", f"{error}; close it")], source)
    findings = [*_directive_findings(text, threads), *_token_findings(text, threads), *_attribute_findings(text)]
    return _diagnostic(sorted(findings, key=lambda each: each.line), source) if findings else None


def check_flags(flags: str, line: int | None = None) -> Diagnostic | None:
    """The policy's answer to an `EVO_FLAGS` value."""
    try:
        parse_flags(flags)
    except FlagError as error:
        place = f"line {line}: " if line else ""
        return Diagnostic("policy", "forbidden_flag", f"{place}{error}", {"line": line, "found": flags})
    return None


def _diagnostic(findings: list[Finding], source: str) -> Diagnostic:
    first = findings[0]
    lines = source.splitlines()
    shown = lines[first.line - 1].strip()[:160] if first.line <= len(lines) else ""
    message = "\n".join(f"line {each.line}: {each.message}." for each in findings[:20])
    if len(findings) > 20:
        message += f"\n… and {len(findings) - 20} more."
    details = {"line": first.line, "text": shown, "findings": [[each.line, each.reason, each.message] for each in findings[:20]]}
    return Diagnostic("policy", first.reason, message, details)


def _directive_findings(text: Text, threads: int) -> Iterator[Finding]:
    for directive in text.directives:
        name, line = directive.name, directive.line
        if name == "include":
            yield from _include_findings(directive, threads)
        elif name == "pragma":
            yield from _pragma_findings(directive.tokens, line, threads)
        elif not name and not directive.tokens:
            continue  # a lone `#`
        elif name not in DIRECTIVES:
            found = f"#{name or directive.tokens[0].text}"
            yield Finding(line, "forbidden_directive", f"found {found}, expected one of {_listed(DIRECTIVES)}; remove it")
    for before, token in _pairs(text):
        if before is not None and before.text in ("__has_include", "__has_include_next", "__has_embed"):
            yield Finding(token.line, "forbidden_include", f"found {before.text}, which asks about files; include the header or leave it")


def _include_findings(directive: Directive, threads: int) -> Iterator[Finding]:
    header = directive.tokens[0] if directive.tokens else None
    allowed = HEADERS | THREAD_HEADERS if threads > 1 else HEADERS
    if header is None or header.kind != "header":
        found = header.text if header else "nothing"
        yield Finding(directive.line, "forbidden_include", f"found #include {found}, expected a header in <>; write its name out")
    elif header.text.startswith('"'):
        yield Finding(directive.line, "forbidden_include", f"found #include {header.text}: kernels are one file; move its text in here")
    elif header.text[1:-1].strip() in THREAD_HEADERS - allowed:
        yield Finding(directive.line, "forbidden_include", f"found #include {header.text}, but this run has one thread; remove it")
    elif header.text[1:-1].strip() not in allowed:
        message = f"found #include {header.text}, expected one of {_listed(allowed)}; use one of those"
        yield Finding(directive.line, "forbidden_include", message)


def _pragma_findings(tokens: tuple[Token, ...], line: int, threads: int) -> Iterator[Finding]:
    words = [token.text for token in tokens]
    head, second = (*words[:2], "", "")[:2]
    shown = "#pragma " + " ".join(words)[:80]
    if head == "GCC" and second in ("optimize", "target"):
        yield from _option_findings(tokens[2:], second, line)
    elif head == "GCC" and second in ("ivdep", "unroll", "push_options", "pop_options", "reset_options", "diagnostic"):
        return
    elif head == "omp" and second in ("simd", "declare", "scan", "ordered"):
        if second == "declare" and "simd" not in words:
            yield Finding(line, "forbidden_pragma", f"found {shown}; of `omp declare` only `simd` is allowed")
    elif head == "omp":
        if threads <= 1:
            advice = "this run has one thread (`evaluation.threads`), so use `omp simd` or remove it"
            yield Finding(line, "forbidden_pragma", f"found {shown}, but {advice}")
        elif second in ("target", "requires", "interop", "dispatch"):
            yield Finding(line, "forbidden_pragma", f"found {shown}, which offloads; remove it")
    elif head in ("once", "ivdep", "unroll", "nounroll", "STDC") or (head == "clang" and second in ("loop", "fp", "diagnostic")):
        return
    else:
        expected = "GCC ivdep/unroll/optimize/target, omp simd, clang loop, unroll, STDC"
        yield Finding(line, "forbidden_pragma", f"found {shown}, expected one of {expected}; remove it")


def _operator_findings(rest: tuple[Token, ...], line: int, threads: int) -> Iterator[Finding]:
    """`_Pragma("…")`: the same rules for what is in the string."""
    literal = rest[1] if len(rest) == 2 and rest[0].text == "(" else None
    if literal is None or not literal.text.startswith('"'):
        yield Finding(line, "forbidden_pragma", "found _Pragma without a plain string; write the pragma out")
        return
    try:
        tokens = read(re.sub(r"\\(.)", r"\1", literal.text[1:-1])).tokens
    except SourceError as error:
        yield Finding(line, "malformed_source", f"{error}; close it")
        return
    yield from _pragma_findings(tokens, line, threads)


def _option_findings(tokens: tuple[Token, ...], kind: str, line: int) -> Iterator[Finding]:
    """Arguments of `#pragma GCC optimize/target` and of the attributes of the same names."""
    for token in tokens:
        if token.kind == "string":
            for option in re.split(r"[,\s]+", token.text.strip('"')):
                if not option or option == "default" or _option_allowed(option, kind):
                    continue
                message = f"found {kind} option {option!r}, which is no code-generation flag on the list; remove it"
                yield Finding(line, "forbidden_flag", message)
        elif token.kind == "name":
            yield Finding(line, "forbidden_flag", f"found {kind} option {token.text}, expected a string; write the flag out")


def _option_allowed(option: str, kind: str) -> bool:
    if option.startswith("-"):
        return is_code_generation_flag(option)
    if kind == "target":
        return is_code_generation_flag(f"-m{option}")
    return option.isdigit() or is_code_generation_flag(f"-{option}") or is_code_generation_flag(f"-f{option}")


def _token_findings(text: Text, threads: int) -> Iterator[Finding]:
    for group in (text.tokens, *(directive.tokens for directive in text.directives)):
        for index, token in enumerate(group):
            if token.kind != "name":
                continue
            following = group[index + 1].text if index + 1 < len(group) else ""
            if token.text in ("asm", "__asm", "__asm__"):
                yield from _asm_findings(group[index + 1 :], token.line)
            elif token.text == "_Pragma":
                yield from _operator_findings(group[index + 1 : index + 3], token.line, threads)
            elif token.text in STAMPS:
                message = f"found {token.text}: the same text would build differently each time; remove it"
                yield Finding(token.line, "forbidden_name", message)
            else:
                group_name = _forbidden(token.text)
                if group_name and (token.text not in ALSO_ORDINARY or _is_call(group, index, following)):
                    advice = _call_advice(group_name, threads)
                    yield Finding(token.line, "forbidden_name", f"found {token.text} ({group_name} call); {advice}")


def _forbidden(name: str) -> str | None:
    if name in FORBIDDEN_NAMES:
        return FORBIDDEN_NAMES[name]
    return next((group for prefix, group in FORBIDDEN_PREFIXES.items() if name.startswith(prefix)), None)


def _is_call(tokens: tuple[Token, ...], index: int, following: str) -> bool:
    """Whether an ordinary word is used as a function, not as a member or a variable's name with an initialiser."""
    before = tokens[index - 1] if index else None
    return following == "(" and (before is None or before.text not in (".", "->"))


def _call_advice(group: str, threads: int) -> str:
    if group == "library":
        return "the kernel must compute the result itself; remove it"
    if group == "thread":
        return "use `#pragma omp parallel`" if threads > 1 else "this run has one thread; remove it"
    if group == "memory mapping":
        return "use the workspace argument (export `size_t workspace(sizes…)`)"
    return "a kernel reads its inputs and writes its outputs, nothing else; remove it"


def _asm_findings(rest: tuple[Token, ...], line: int) -> Iterator[Finding]:
    index = 0
    while index < len(rest) and rest[index].text in ("volatile", "__volatile__", "__volatile", "inline", "goto"):
        index += 1
    template = rest[index + 1] if index + 1 < len(rest) and rest[index].text == "(" else None
    strings = []
    while template is not None and template.kind == "string":
        strings.append(template.text)
        index += 1
        template = rest[index + 1] if index + 1 < len(rest) else None
    if not strings or any(text not in ('""', 'R"()"') for text in strings):
        barrier = 'asm volatile("" ::: "memory")'
        message = f"found inline assembly; only an empty barrier ({barrier}) is allowed, use intrinsics from <immintrin.h> instead"
        yield Finding(line, "forbidden_asm", message)


def _attribute_findings(text: Text) -> Iterator[Finding]:
    for group in (text.tokens, *(directive.tokens for directive in text.directives)):
        for index, token in enumerate(group):
            if token.text in ("__attribute__", "__attribute"):
                yield from _attribute_list(group, index + 1, "(", ")")
            elif token.text == "[[":
                yield from _attribute_list(group, index, "[", "]]")


def _attribute_list(tokens: tuple[Token, ...], start: int, opening: str, closing: str) -> Iterator[Finding]:
    """Names at the outer level of `((a, b(…)))` or `[[a, ns::b(…)]]`, their arguments skipped."""
    base = 2 if opening == "(" else 0
    depth, expecting = 0, True
    for index in range(start, len(tokens)):
        token = tokens[index]
        if token.text == "[[" and opening == "[" and index == start:
            continue
        if token.text == "]]" and closing == "]]":
            return
        if token.text in ("(", "[", "[["):
            depth += len(token.text)
        elif token.text in (")", "]", "]]"):
            depth -= len(token.text)
            if opening == "(" and depth <= 0:
                return
        elif depth == base and token.text in (",", "::", ":"):
            expecting = True
        elif depth == base and token.kind == "name" and expecting:
            name = token.text.strip("_") or token.text
            if name not in ATTRIBUTES and token.text not in NAMESPACES:
                message = f"found attribute {token.text}, expected one of {_listed(ATTRIBUTES)}; remove it"
                yield Finding(token.line, "forbidden_attribute", message)
            elif name in ("optimize", "target"):
                yield from _option_findings(_arguments(tokens, index + 1), name, token.line)
            expecting = token.text == "using"


def _arguments(tokens: tuple[Token, ...], start: int) -> tuple[Token, ...]:
    depth = 0
    for index in range(start, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth <= 0:
            return tokens[start : index + 1]
    return tokens[start:]


def _pairs(text: Text) -> Iterator[tuple[Token | None, Token]]:
    for group in (text.tokens, *(directive.tokens for directive in text.directives)):
        before: Token | None = None
        for token in group:
            yield before, token
            before = token


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
