"""Keys come from the environment and go into requests, and nowhere else."""

from __future__ import annotations

import os
import re

__all__ = ["scrub"]

NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
PREFIXES = ("sk", "rk", "pk", "hf", "gsk", "xai", "ghp", "AIza")
SHAPES = re.compile(rf"(?i:\bbearer\s+)[\w.~+/=-]{{6,}}|\b(?:{'|'.join(PREFIXES)})[-_][\w-]{{12,}}")
"""How keys look that no variable of ours holds: an echoed header, the well-known prefixes."""
SHORTEST = 6
HIDDEN = "[hidden]"


def scrub(text: str) -> str:
    """`text` without any key: the value of every variable that is named like a secret, and whatever looks like one."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and NAMES.search(name) and value in text:
            text = text.replace(value, HIDDEN)
    if "earer" in text or "EARER" in text or any(f"{prefix}{sign}" in text for prefix in PREFIXES for sign in "-_"):
        return SHAPES.sub(HIDDEN, text)  # milliseconds for a long text, so only where there may be something
    return text
