"""Reads `rules.yaml`: returns `Rules`, or an error message that a person can act on."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from . import files, yaml_lines
from .model import Rules
from .mounts import UNSHOWN

DEFAULT_PATH = Path(__file__).parent.with_name("rules.yaml").resolve()
"""The shipped file: in the package, or in a checkout behind a link there."""


LARGEST = 1024 * 1024
"""Bytes of a rules file, at most."""
LONGEST = 300
"""Characters of a value that are shown, at most."""
MOST_PROBLEMS = 50
"""Problems that are listed, at most; the rest are only counted."""


class RulesError(ValueError):
    """A rules file that cannot be used. The message names file, line, key path and value."""


def load(path: Path) -> Rules:
    """Read a rules file.

    Args:
        path: the YAML file.

    Raises:
        RulesError: it cannot be read or is not valid; the message lists every problem.
    """
    return parse(_text(path), str(path))


def lines(path: Path) -> dict[yaml_lines.KeyPath, int]:
    """Return the line of each key in a rules file that can be loaded."""
    return yaml_lines.load(_text(path))[1]


def _text(path: Path) -> str:
    try:
        data = files.read(path, LARGEST)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RulesError(f"{path}: cannot read the rules: {why}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x}"
        raise RulesError(f"{path}:{line}: cannot read {byte}: expected text in UTF-8") from error


def parse(text: str, source: str) -> Rules:
    """Validate the text of a rules file; `source` is its name in error messages."""
    try:
        data, lines = yaml_lines.load(text)
    except yaml_lines.YamlError as error:
        raise RulesError(f"{source}:{error.line}: not valid YAML: {error}") from error
    if data is None:
        data = {}
    try:
        rules = Rules.model_validate(data)
        # These are built at first use: if that fails, it should fail here.
        rules.is_api_path("/")
        rules.artifacts.matching("/", 0)
    except ValidationError as error:
        errors = error.errors()
        problems = sorted({_describe(e, data, lines, source) for e in errors[:MOST_PROBLEMS]})
        if more := len(errors) - MOST_PROBLEMS:
            problems += [(0, f"{source}: {more} more problem(s)")] if more > 0 else []
        raise RulesError("\n".join(text for _, text in problems)) from None
    except Exception as error:
        # From a library, for a value that it did not expect.
        raise RulesError(f"{source}: cannot be used: {type(error).__name__}") from error
    return rules


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a rules file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Rules.model_json_schema(),
    }


_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "model_type": "expected a mapping",
    "string_type": "expected text",
}


def _describe(
    error: Any, data: Any, lines: dict[yaml_lines.KeyPath, int], source: str
) -> tuple[int, str]:
    """Return a pydantic error as (line, "file:line: key.path: value: what was expected")."""
    path = _in_file(error["loc"], data)
    line = next(lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in path)
    where = f"{source}:{line}: {key.lstrip('.') or 'the file'}"
    kind, message = error["type"], _EXPECTED.get(error["type"], error["msg"])
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
        return line, f"{where}: unknown key; {hint}"
    if kind == "missing":
        return line, f"{where}: missing; expected a value"
    if kind == "string_pattern_mismatch":
        message = f"expected text that matches {error['ctx']['pattern']}"
    message = message.removeprefix("Value error, ").replace("Input should be", "expected")
    if kind != UNSHOWN and isinstance(error["input"], (str, int, float, bool, type(None))):
        return line, f"{where}: {_short(error['input'])}: {message}"
    return line, f"{where}: {message}"


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to show such an int.
        return "a number with thousands of digits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def _name(key: str) -> str:
    """Return a key as it is in the file; shortened and quoted if it is long or not printable."""
    return key if key.isprintable() and len(key) <= LONGEST else _short(key)


def _in_file(loc: tuple[str | int, ...], data: Any) -> yaml_lines.KeyPath:
    """Return the part of a pydantic location that is in the file (it also names union members)."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict):
            data = next((v for k, v in data.items() if str(k) == str(part)), None)
            part = str(part)
        else:
            break
        path.append(part)
    return tuple(path)


def _keys_at(path: yaml_lines.KeyPath) -> list[str]:
    """Return the keys that a mapping at a key path may have."""
    model: Any = Rules
    for part in path:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
        elif args := get_args(model):
            model = args[0]
    return list(model.model_fields)
