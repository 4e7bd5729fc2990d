"""YAML with line numbers, so that an error can point at the place in the file.

PyYAML keeps the line of every node while it parses, and drops it when it builds Python values.
`load` walks the nodes first. It also refuses duplicate keys, of which PyYAML silently keeps the
last, and small texts that become large: libyaml crashes the process if values are nested too deep,
and a few aliases of aliases can stand for more values than fit into memory.
"""

from __future__ import annotations

import reprlib
from typing import Any

import yaml
from yaml.reader import Reader

DEEPEST = 50
"""Levels of nested values, at most; rules need eight."""
MOST = 100_000
"""Values of a document, at most, aliases expanded."""

# libyaml parses in a tenth of the time; nearly all installations of PyYAML have it.
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHORT = 64 * 1024
"""Up to so many characters, a text is parsed again for a better message."""

KeyPath = tuple[str | int, ...]


class YamlError(ValueError):
    """The text is not YAML that we accept. `line` counts from 1."""

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
        YamlError: it is not valid YAML, is nested too deep, holds too many values, has a duplicate
            key, a key that is not text, or contains itself through an alias.
    """
    if found := Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise YamlError(line, f"the character {found[0]!r} is not allowed in YAML")
    try:
        return _load(text, _FAST)
    except YamlError:
        if len(text) > _SHORT:
            raise
        return _load(text, yaml.SafeLoader)  # Its messages are better.


def _load(text: str, kind: Any) -> tuple[Any, dict[KeyPath, int]]:
    loader = None
    try:
        _measure(kind(text))
        loader = kind(text)
        root = loader.get_single_node()
        lines: dict[KeyPath, int] = {(): 1}
        if root is None:
            return None, lines
        _Walk(loader, lines).walk(root, (), frozenset())
        return loader.construct_document(root), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, error.problem or str(error)) from error
    except yaml.YAMLError as error:
        raise YamlError(1, str(error)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _measure(loader: Any) -> None:
    """Refuse a document that is nested too deep or too long, before its nodes are built."""
    depth = values = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.NodeEvent):
                values += 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            _refuse(event, depth, values)
    finally:
        loader.dispose()


def _refuse(place: Any, depth: int, values: int) -> None:
    line = place.start_mark.line + 1
    if depth > DEEPEST:
        raise YamlError(line, f"nested too deep; expected {DEEPEST} levels at most")
    if values > MOST:
        raise YamlError(line, f"too many values; expected {MOST} at most, aliases included")


class _Walk:
    """Walks all values, with aliases expanded."""

    def __init__(self, loader: Any, lines: dict[KeyPath, int]) -> None:
        self._loader = loader
        self._lines = lines
        self._values = 0

    def walk(self, node: yaml.Node, path: KeyPath, above: frozenset[int]) -> None:
        """Record the lines of a value, and check it."""
        self._values += 1
        _refuse(node, len(path), self._values)
        if id(node) in above:
            raise YamlError(node.start_mark.line + 1, "an alias must not contain itself")
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self.walk(value, self._key(key, path), above)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[(*path, index)] = item.start_mark.line + 1
                self.walk(item, (*path, index), above)
        elif node.tag != "tag:yaml.org,2002:str":
            self._check(node)

    def _key(self, key: yaml.Node, path: KeyPath) -> KeyPath:
        """Record the line of a key, and return the path of its value."""
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(line, "a key must be text, not a list or a mapping")
        here = (*path, str(key.value))
        if key.tag != "tag:yaml.org,2002:merge":
            if here in self._lines:
                first = self._lines[here]
                raise YamlError(
                    line, f"duplicate key {reprlib.repr(key.value)}, first used in line {first}"
                )
            self._check(key)
        self._lines[here] = line
        return here

    def _check(self, node: yaml.Node) -> None:
        """Refuse a value that only looks like a number or a date: PyYAML fails in many ways."""
        try:
            self._loader.construct_object(node)
        except yaml.YAMLError:
            raise
        except Exception as error:
            kind = node.tag.rpartition(":")[2]
            line = node.start_mark.line + 1
            raise YamlError(line, f"{reprlib.repr(node.value)} is not a valid {kind}") from error
