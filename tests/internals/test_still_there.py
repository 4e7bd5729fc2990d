"""The internals that the addon uses are in a table, and this mitmproxy has them."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from functools import cache
from pathlib import Path

import pytest

from addon.internals.place import Part, Place
from addon.internals.reached_into import TABLE
from addon.internals.still_there import lacks, problems, warning

ADDON = Path(__file__).resolve().parents[2] / "addon"

DISTINCTIVE = {
    *("blocker", "child_layer", "drain_writers", "handle_hook", "last_activity", "lookup"),
    *("register_activity", "server_event", "timeout_watchdog", "transports"),
}
"""Names in the table that mean nothing else in the addon."""


@pytest.mark.parametrize("place", TABLE, ids=lambda p: f"{p.owner}-{p.part.name}")
def test_the_table_holds(place: Place) -> None:
    """The versions in use have each place of the table, as expected."""
    assert problems(place) == []


def test_nothing_is_reported_if_all_is_as_expected() -> None:
    """If all internals are as expected, nothing is reported or logged."""
    assert [(lacks(part), warning(part)) for part in Part] == [((), None)] * len(Part)


def test_each_place_is_used() -> None:
    """Existing modules use each place; each part has places, each place a purpose."""
    modules = {name for name, _ in _modules()}
    assert all({*place.used_in} <= modules and place.used_in for place in TABLE)
    assert {place.part for place in TABLE} == {*Part}
    assert all(place.purpose and place.names for place in TABLE)


class Owner:
    """A class to be checked."""

    noted: int

    def __init__(self) -> None:
        self.given = 1

    def plain(self, one: int, two: int = 2) -> None:
        """A method."""

    async def waits(self) -> None:
        """A coroutine function."""

    def varies(self, *args: int, **kwargs: int) -> None:
        """Takes anything."""

    @classmethod
    def of_class(cls, one: int) -> None:
        """A class method."""

    text = "a text"


class Heir(Owner):
    """Inherits the attributes of its base."""


class Slotted:
    """Instances cannot change their class."""

    __slots__ = ()


@dataclass
class Fields:
    """A dataclass."""

    one: int
    two: int = 2


More = make_dataclass("More", [("one", int), ("two", int, 2), ("three", int, 3)])

CASES = [
    ("Owner", "noted", None),
    ("Owner", "given", None),
    ("Heir", "noted", None),
    ("Heir", "given", None),
    ("Owner", "gone", "no gone"),
    ("Owner", "plain(one)", None),
    ("Owner", "plain(one, two)", None),
    ("Owner", "of_class(one)", None),
    ("Owner", "varies()", None),
    ("Owner", "plain()", "plain takes (one, two)"),
    ("Owner", "plain(two)", "plain takes (one, two)"),
    ("Owner", "plain(one, two, three)", "plain takes (one, two)"),
    ("Owner", "async waits()", None),
    ("Owner", "waits()", None),
    ("Owner", "async plain(one)", "plain is no coroutine function"),
    ("Owner", "text=a text", None),
    ("Owner", "text=another", "text is 'a text'"),
    ("Owner", "text()", "text is no function"),
    ("Owner", "__dict__", None),
    ("Slotted", "__dict__", "no __dict__"),
    ("Fields", "__init__(one, two)", None),
    ("Fields", "__init__(one)", "__init__ takes (one, two)"),
    ("More", "__init__(one, two)", "__init__ takes (one, two, three)"),
    ("Owner", "not a name", "ValueError"),
]


@pytest.mark.parametrize(("owner", "name", "flaw"), CASES)
def test_expectations(owner: str, name: str, flaw: str | None) -> None:
    """Expected attributes, parameters and coroutine functions are compared with the actual ones."""
    expected = [] if flaw is None else [f"{owner}: {flaw}, expected {name}"]
    assert problems(_place(f"{__name__}:{owner}", name)) == expected


@pytest.mark.parametrize("owner", ["no.such.module", "mitmproxy.http:Nothing", "asyncio:a.b"])
def test_a_missing_owner(owner: str) -> None:
    """A missing owner is reported with everything expected of it."""
    assert problems(_place(owner, "one()")) == [f"{owner}: missing, expected one()"]


def test_another_text() -> None:
    """A changed text in a function's code is reported."""
    owner = "asyncio.selector_events:BaseSelectorEventLoop"
    place = Place(owner, ("_accept_connection",), "x", ("x",), Part.LOOP, says="no such text")
    (problem,) = problems(place)
    assert problem.endswith("another text in _accept_connection, expected no such text")


def test_the_line_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning is one line with the version, the name, the expectation and the consequence."""
    monkeypatch.delattr(asyncio.StreamReader, "feed_data")
    lacks.cache_clear()
    try:
        line = warning(Part.BYTES)
    finally:
        lacks.cache_clear()
    assert line is not None
    assert line.startswith("mitmproxy 1")
    assert "StreamReader: no feed_data, expected feed_data(data)" in line
    assert line.endswith(f"So {Part.BYTES.value}")
    assert "\n" not in line


@pytest.mark.parametrize("name", sorted(DISTINCTIVE))
def test_distinctive_names_are_in_the_table(name: str) -> None:
    """Only modules that the table lists use such a name."""
    users = {module for module, tree in _modules() if name in _attributes(tree)}
    assert users
    assert users <= _listed(name)


def test_private_names_are_in_the_table() -> None:
    """A module uses another's private name only if the table lists it there."""
    for module, tree in _modules():
        own = {*_defined(tree)}
        for name in _attributes(tree):
            if name.startswith("_") and not name.startswith("__") and name not in own:
                assert module in _listed(name), f"{module}: {name}"


def test_private_modules_are_in_the_table() -> None:
    """A module imports a private module only if the table lists it there."""
    for module, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{each.name}" for each in node.names]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            else:
                continue
            for name in names:
                if name.startswith(("asyncio", "mitmproxy")) and "._" in name:
                    owners = {p.owner.partition(":")[0] for p in TABLE if module in p.used_in}
                    assert name.rpartition(".")[0] in owners, f"{module}: {name}"


def _place(owner: str, name: str) -> Place:
    return Place(owner, (name,), "a test", ("proxy",))


@cache
def _parsed() -> tuple[tuple[str, ast.Module], ...]:
    return tuple(
        (".".join(file.relative_to(ADDON).with_suffix("").parts), ast.parse(file.read_text()))
        for file in sorted(ADDON.rglob("*.py"))
    )


def _modules() -> Iterator[tuple[str, ast.Module]]:
    yield from _parsed()


def _listed(name: str) -> set[str]:
    """Return the modules for which the table lists a name."""
    return {
        module
        for place in TABLE
        for module in place.used_in
        for each in place.names
        if each.removeprefix("async ").partition("(")[0] == name
    }


def _attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _defined(tree: ast.AST) -> Iterator[str]:
    """Yield names that a module defines itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
