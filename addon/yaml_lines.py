"""YAML with line numbers, so that an error can point at the place in the file.

PyYAML keeps the line of every node while it parses and drops it when it builds Python values.
`load` walks the nodes first. It also refuses duplicate keys, of which
PyYAML silently keeps the last.
"""

from __future__ import annotations

from typing import Any

import yaml

# libyaml parses in a tenth of the time; nearly all installations of PyYAML have it.
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KeyPath = tuple[str | int, ...]


class YamlError(ValueError):
    """The text is not the YAML we read. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def load(text: str) -> tuple[Any, dict[KeyPath, int]]:
    """Parse one YAML document.

    Args:
        text: the document.

    Returns:
        Its value, and the line (from 1) of each key and list item by key path.

    Raises:
        YamlError: it is not valid YAML, has a duplicate key or contains itself through an alias.
    """
    try:
        return _load(text, _FAST)
    except YamlError:
        return _load(text, yaml.SafeLoader)  # Its messages are better.


def _load(text: str, kind: Any) -> tuple[Any, dict[KeyPath, int]]:
    loader = kind(text)
    try:
        root = loader.get_single_node()
        lines: dict[KeyPath, int] = {(): 1}
        if root is None:
            return None, lines
        _walk(root, (), lines, frozenset())
        return loader.construct_document(root), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, error.problem or str(error)) from error
    except yaml.YAMLError as error:
        raise YamlError(1, str(error)) from error
    finally:
        loader.dispose()


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], above: frozenset[int]) -> None:
    if id(node) in above:
        raise YamlError(node.start_mark.line + 1, "an alias must not contain itself")
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if here in lines and key.tag != "tag:yaml.org,2002:merge":
                raise YamlError(
                    line, f"duplicate key {key.value!r}, first used in line {lines[here]}"
                )
            lines[here] = line
            _walk(value, here, lines, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _walk(item, (*path, index), lines, above)
