"""What models really send, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.answers import MOST_CHARACTERS, Complaint, Edit, apply_edits, edits_in, read

PARENT = """\
#include <cstdint>
#define TILE 8  // evo: {8, 16}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        y[i] = x[i] * 2.0f;
    }
    for (int64_t i = 0; i < n; ++i) {
        y[i] += 1.0f;
    }
}
"""
BETTER = PARENT.replace("x[i] * 2.0f", "x[i] + x[i]")


def edit(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def complaint(answer: str, parent: str | None = PARENT, language: str = "cpp", truncated: bool = False) -> Complaint:
    found = read(answer, parent, language, truncated=truncated)
    assert isinstance(found, Complaint), found
    return found


# ── edits ──


@pytest.mark.parametrize(
    "old",
    [
        "        y[i] = x[i] * 2.0f;",
        "        y[i] = x[i] * 2.0f;   ",
        "y[i] = x[i] * 2.0f;",
        "        y[i]  =  x[i] *  2.0f;",
        "\n        y[i] = x[i] * 2.0f;\n",
        "    for (int64_t i = 0; i < n; ++i) {\n        y[i] = x[i] *2.0f;",
    ],
    ids=["exact", "trailing blanks", "no indentation", "inner blanks", "blank lines around", "small differences"],
)
def test_search_blocks_are_found_exactly_or_nearly(old: str) -> None:
    new = "        y[i] = x[i] + x[i];" if "for" not in old else "    for (int64_t i = 0; i < n; ++i) {\n        y[i] = x[i] + x[i];"
    assert read(f"Adding is cheaper.\n\n{edit(old, new)}", PARENT, "cpp") == BETTER


def test_a_block_quoted_without_indentation_is_put_back_with_it() -> None:
    assert read(edit("y[i] = x[i] * 2.0f;", "y[i] = x[i] + x[i];"), PARENT, "cpp") == BETTER


def test_several_blocks_apply_in_order_inside_fences_with_windows_line_ends() -> None:
    first = edit("        y[i] = x[i] * 2.0f;", "        y[i] = x[i] + x[i];")
    second = edit("        y[i] = x[i] + x[i];", "        y[i] = 2.0f * x[i];")
    answer = f"Two steps.\n```\n{first}```\nthen\n```cpp\n{second}```\n".replace("\n", "\r\n")
    assert read(answer, PARENT, "cpp") == PARENT.replace("x[i] * 2.0f", "2.0f * x[i]")


def test_a_part_of_a_line_may_be_quoted() -> None:
    assert read(edit("#define TILE 8", "#define TILE 16"), PARENT, "cpp") == PARENT.replace("TILE 8 ", "TILE 16 ")


def test_lines_can_be_deleted() -> None:
    answer = "<<<<<<< SEARCH\n        y[i] += 1.0f;\n=======\n>>>>>>> REPLACE\n"
    assert read(answer, PARENT, "cpp") == PARENT.replace("        y[i] += 1.0f;\n", "")


def test_a_block_that_fits_two_places_is_refused_with_the_lines() -> None:
    found = complaint(edit("    for (int64_t i = 0; i < n; ++i) {", "    for (;;) {"))
    assert found.reason == "ambiguous_search" and "lines 5, 8" in found.message


def test_a_block_that_fits_nowhere_is_refused_with_the_nearest_place() -> None:
    found = complaint(edit("        y[i] = sqrtf(x[i]) * 4.0f;", "        y[i] = 0;"))
    assert found.reason == "search_not_found" and "y[i] = x[i] * 2.0f;" in found.message


def test_an_empty_search_block_is_refused() -> None:
    assert complaint(edit("", "int x;")).reason == "empty_search"


def test_edits_without_a_kernel_to_edit_are_refused() -> None:
    assert complaint(edit("a", "b"), parent=None).reason == "no_parent"


@given(st.integers(0, 10), st.integers(1, 4))
def test_any_unique_run_of_lines_can_be_replaced(start: int, count: int) -> None:
    lines = [f"line {number} of the file;" for number in range(15)]
    old, new = lines[start : start + count], ["something else;"]
    source = "\n".join(lines) + "\n"
    found = apply_edits(source, [Edit("\n".join(old) + "\n", new[0] + "\n")])
    assert found == "\n".join(lines[:start] + new + lines[start + count :]) + "\n"


# ── whole files ──


@pytest.mark.parametrize(
    "answer",
    [
        f"```cpp\n{BETTER}```",
        f"Sure! Here it is:\n\n```c++\n{BETTER}```\n\nThis is faster because …",
        f"First the build line:\n```bash\ng++ -O3 k.cpp\n```\nthen\n```cpp\n{BETTER}```\nand a test:\n```cpp\nint main() {{}}\n```",
        f"~~~~cpp\n{BETTER}~~~~",
        f"  ```cpp\n{''.join('  ' + line for line in BETTER.splitlines(keepends=True))}  ```",
        f"```\n{BETTER}```",
        BETTER,
    ],
    ids=["fence", "prose around", "several fences", "tildes", "indented", "no tag", "bare"],
)
def test_whole_files_are_found(answer: str) -> None:
    assert read(answer, PARENT, "cpp") == BETTER


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("You should unroll the loop and use AVX.", "no_code"),
        (f"```cpp\n{PARENT}```", "no_change"),
        (f"```cpp\n{PARENT.replace('    ', '  ')}```", "no_change"),
        ("```python\nimport numpy as np\ndef kernel(x): return x\n```", "wrong_language"),
        ("```\nimport numpy as np\n\ndef kernel(x):\n    return x\n```", "wrong_language"),
        (f"```cpp\n{BETTER[:200]}", "truncated"),
        ("<<<<<<< SEARCH\n        y[i] = x[i] * 2.0f;\n=======\n        y[i] = x", "truncated"),
        (edit("        y[i] = x[i] * 2.0f;", "        y[i] = 0;") + "<<<<<<< SEARCH\n    for", "truncated"),
        (f"```cpp\n{BETTER}// {'x' * MOST_CHARACTERS}\n```", "oversized"),
        ("```cpp\nfaster faster\n```", "no_code"),
    ],
)
def test_what_cannot_be_used_is_complained_about_precisely(answer: str, reason: str) -> None:
    found = complaint(answer)
    assert found.reason == reason and len(found.message) > 20


def test_running_into_the_token_limit_counts_as_truncated_even_when_it_looks_whole() -> None:
    assert complaint(f"```cpp\n{BETTER}```", truncated=True).reason == "truncated"


def test_python_kernels_are_read_too() -> None:
    source = "import triton\n\ndef launch(x, y, workspace, n):\n    pass\n"
    assert read(f"```python\n{source}```", None, "triton") == source
    assert complaint(f"```cpp\n{BETTER}```", None, "triton").reason == "wrong_language"


@given(st.text(max_size=300))
def test_no_answer_at_all_is_an_exception(text: str) -> None:
    assert isinstance(read(text, PARENT, "cpp"), (str, Complaint))
    assert isinstance(edits_in(text), list)
