"""The instructions of a Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Iterator


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the arguments of each instruction."""
    lines = (line for line in text.splitlines() if not re.match(r"\s*#", line))
    for instruction in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if instruction.strip():
            name, _, arguments = instruction.strip().partition(" ")
            yield name.upper(), arguments.strip()
