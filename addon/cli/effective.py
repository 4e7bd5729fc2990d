"""`rules --effective`: each value in force, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..routing.settings import Settings
from ..rules.yaml_lines import KeyPath

DEFAULT = "default"


def lines(read: Settings, file: Path, found: Mapping[KeyPath, int]) -> list[str]:
    """Return a line for each value: its key, the value, and its source.

    Args:
        read: the settings.
        file: the rules file that they are from.
        found: the line of each key of the file.
    """
    values = read.rules.model_dump(mode="json")
    values["artifacts"]["enabled"] = read.switch.on
    rows = []
    for path, value in _leaves((), values):
        line = found.get(path)
        source = DEFAULT if line is None else f"{file.name}:{line}"
        if path == ("artifacts", "enabled") and read.switch.source != "artifacts.enabled":
            source = read.switch.source
        rows.append((_shown(path), json.dumps(value, ensure_ascii=False), source))
    width = min(max(len(key) for key, _, _ in rows), 40)
    return [f"{key:{width}}  {value}  # {source}" for key, value, source in rows]


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield what is neither a mapping nor a list of mappings, with its key path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from _leaves((*path, index), inner)
    else:
        yield path, value


def _shown(path: KeyPath) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")
