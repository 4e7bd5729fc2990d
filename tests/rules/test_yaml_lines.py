"""The line of each key and item in a YAML document."""

from __future__ import annotations

from typing import Any

import pytest

from addon.rules import yaml_lines
from addon.rules.yaml_lines import KeyPath


@pytest.mark.parametrize(
    ("text", "value", "lines"),
    [
        ("", None, {}),
        ("# nothing\n", None, {}),
        ("a: 1\n\nb:\n  c: x\n", {"a": 1, "b": {"c": "x"}}, {("a",): 1, ("b",): 3, ("b", "c"): 4}),
        (
            "a:\n  - x\n  - b: y\n",
            {"a": ["x", {"b": "y"}]},
            {("a", 0): 2, ("a", 1): 3, ("a", 1, "b"): 3},
        ),
        ("{a: {b: [1,\n 2]}}", {"a": {"b": [1, 2]}}, {("a", "b", 0): 1, ("a", "b", 1): 2}),
        # A key is reported as it is written.
        ("404: x", {404: "x"}, {("404",): 1}),
        ("a: |\n  x\n  y\nb: 1", {"a": "x\ny\n", "b": 1}, {("b",): 4}),
        # An alias's values have the lines of the anchor, for both keys.
        ("a: &a\n  x: 1\nb: *a", {"a": {"x": 1}, "b": {"x": 1}}, {("a", "x"): 2, ("b", "x"): 2}),
    ],
)
def test_lines(text: str, value: Any, lines: dict[KeyPath, int]) -> None:
    """Lines count from 1, in block style and flow style."""
    found, places = yaml_lines.load(text)
    assert found == value
    assert places[()] == 1
    assert {path: places[path] for path in lines} == lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [", 2),
        ("a: 1\na: 2", 2),
        ("a:\n  b: 1\n  c: 2\n  b: 3", 4),
        ("a: 1\nb: *none", 2),
        ("a: 1\n\nb: \0", 3),
        ("a: 1\n? [b]\n: 1", 2),
    ],
)
def test_the_line_of_a_mistake(text: str, line: int) -> None:
    """The error has the line of the mistake."""
    with pytest.raises(yaml_lines.YamlError) as error:
        yaml_lines.load(text)
    assert error.value.line == line
