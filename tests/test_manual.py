"""The pages of the manual: links lead somewhere, and examples are valid."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
import yaml
from mitmproxy.test import taddons
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from support.assembled import Assembled

from addon.errors.replies import Refusal
from addon.hooks.option_names import PREFIX as PREFIX_OF_OPTIONS
from addon.observe.measured import State
from addon.observe.metrics import PREFIX, Metrics
from addon.rules import rules_file
from addon.rules.model import Rules

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".github", "addon", "scripts", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
RULES = ROOT / "addon" / "rules" / "README.md"
OPERATING = ROOT / "scripts" / "deploy" / "OPERATING.md"
TROUBLESHOOTING = OPERATING.with_name("TROUBLESHOOTING.md")

LONG = 120
"""Number of lines above which a page needs a table of contents."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?)[ #]*$", re.MULTILINE)
_PATH = re.compile(r"(?:scripts|addon|tests)/[^\s`'\"()|,;]*")
_PROGRAM = re.compile(r"(?<![\w/.~-])\w[\w.-]*(?:/[\w.-]+)+\.(?:py|sh)\b")
_OTHER_YAML = ("configMapGenerator:", "services:")
"""Beginnings of YAML examples that are not rules files, but for kustomize or Compose."""


def name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of each code block."""
    for match in _FENCE.finditer(page.read_text()):
        yield match[2], textwrap.dedent(match[3])


def slug(heading: str) -> str:
    """Return GitHub's anchor for a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return all anchors of a page; a repeated heading gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(prose(page)):
        anchor = slug(heading)
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return frozenset(found)


def links(page: Path, before: str = r"\Z") -> list[str]:
    """Return a page's link targets in this repository, up to a match of `before`."""
    text = re.split(before, prose(page), maxsplit=1, flags=re.MULTILINE)[0]
    found = _LINK.findall(_CODE.sub("", text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def rows(page: Path) -> list[str]:
    """Return the rows of a page's tables."""
    return [line for line in prose(page).splitlines() if line.startswith("| ")]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("allowed_hosts", "allowed_hosts"),
        ("408, 413 and 431", "408-413-and-431"),
        ("`--web` - a [link](a.md#b)", "--web---a-link"),
    ],
)
def test_slug(heading: str, anchor: str) -> None:
    """Anchors are computed as GitHub does."""
    assert slug(heading) == anchor


@every_page
def test_links(page: Path) -> None:
    """Each link leads to an existing file, folder or heading."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        place = (page.parent / unquote(path)).resolve() if path else page
        assert place.is_relative_to(ROOT), target
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_each_page_is_found() -> None:
    """The README links to every page, and examples are found for the tests below."""
    assert len(EXAMPLES) >= 15
    listed = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    assert {*PAGES} - listed == {README}


def test_the_readme_is_short() -> None:
    """The README stays short, as a front page, and names the test command (see .ci/run)."""
    assert len(README.read_text().splitlines()) <= 200
    assert "`scripts/test.sh --all-pythons`" in README.read_text()


@pytest.mark.parametrize("page", [p for p in PAGES if p not in (README, CHANGELOG)], ids=name)
def test_contents(page: Path) -> None:
    """A long page begins with a table of contents that lists all its parts."""
    if len(page.read_text().splitlines()) > LONG:
        parts = {slug(heading) for heading in re.findall(r"^## +(.*)$", prose(page), re.MULTILINE)}
        assert parts <= {target.removeprefix("#") for target in links(page, before="^## ")}


@every_page
def test_paths(page: Path) -> None:
    """Paths in backticks exist; the changelog may name old ones."""
    if page == CHANGELOG:
        return
    for code in _CODE.findall(prose(page)):
        for path in _PATH.findall(code):
            assert [*ROOT.glob(path.rstrip("."))], path
    for _, text in blocks(page):
        for path in _PROGRAM.findall(text):
            assert (ROOT / path).exists() or (page.parent / path).exists(), path


EXAMPLES = [
    pytest.param(text, id=f"{name(page)}:{number}")
    for page in PAGES
    for number, (language, text) in enumerate(blocks(page))
    if language == "yaml" and not text.startswith(_OTHER_YAML)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(example: str) -> None:
    """Rules that a reader may copy are valid."""
    assert rules_file.parse(example, "example") != Rules()


def keys(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of a section of the rules, nested ones as `errors.overrides[].path`."""
    for key, field in model.model_fields.items():
        inner: Any = field.annotation
        of_list = next(iter(get_args(inner)), None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{before}{key}.")
            continue
        yield before + key, field
        if isinstance(of_list, type) and issubclass(of_list, BaseModel):
            yield from keys(of_list, f"{before}{key}[].")


def shown(value: object) -> set[str]:
    """Return how a default may be written; nothing if it is described in words."""
    if isinstance(value, bool):
        return {f"`{str(value).lower()}`"}
    if isinstance(value, str):
        return {f"`{value}`"} if value else set()
    if not isinstance(value, (int, float)):
        return set()
    size = next(
        (
            f"{value // unit:g} {sign}iB"
            for sign, unit in SIZES.items()
            if value and not value % unit
        ),
        "",
    )
    return {f"{value:g} s", f"{value:,}", *([size] if size else ())}


SIZES = {"T": 2**40, "M": 2**20, "K": 2**10}


@pytest.mark.parametrize(("key", "field"), [pytest.param(k, f, id=k) for k, f in keys(Rules)])
def test_keys(key: str, field: FieldInfo) -> None:
    """Each key of the rules has a row with its default."""
    row = re.search(rf"^\| `{re.escape(key)}` \| (.*?) \| .+ \|$", RULES.read_text(), re.MULTILINE)
    assert row, key
    if field.is_required():
        assert row[1] == "required"
    if written := shown(field.default):
        assert any(re.match(rf"{re.escape(text)}(?![\w.])", row[1]) for text in written), row[1]


def test_options() -> None:
    """Each option of the addon has a row."""
    text = (ROOT / "addon" / "cli" / "README.md").read_text()
    with taddons.context() as context:
        assembled = Assembled(context)
        names = (name for name, _ in context.options.items())
        options = [name for name in names if name.startswith(PREFIX_OF_OPTIONS)]
        assembled.done()
    assert len(options) > 5
    assert [option for option in options if f"\n| `{option}` |" not in text] == []


def test_metrics() -> None:
    """Each metric and each reason for a refusal has a row."""
    state = State(0, 0, False, True, 0.0, {}, {"": (0.0, True)}, 0, 0, 0, 0, 0)
    named = {code for row in rows(OPERATING) for code in _CODE.findall(row.split(" | ")[0])}
    for metric in Metrics(lambda: state).collect():
        known = metric.name.removeprefix(PREFIX)
        assert {known, f"{known}_total"} & named, known
    assert {*get_args(Refusal)} <= named


def test_messages() -> None:
    """The proxy's messages in the troubleshooting page are those of the code."""
    files = [*(ROOT / "addon").rglob("*.py"), ROOT / "rules.yaml"]
    files.append(OPERATING.parent / "haproxy" / "haproxy.cfg")
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))
    spans = [span for row in rows(TROUBLESHOOTING) for span in _CODE.findall(row)]
    parts = [part.strip() for span in spans for part in span.split("...")]
    said = [part for part in parts if part.count(" ") >= 3 and not part.startswith("scripts/")]
    assert len(said) >= 25
    assert [part for part in said if part not in code] == []


def test_alerts() -> None:
    """Each alert has a row."""
    alerts = yaml.safe_load((OPERATING.parent / "prometheus" / "alerts.yml").read_text())
    rules = alerts["groups"][0]["rules"]
    assert [r["alert"] for r in rules if f"\n| `{r['alert']}` |" not in OPERATING.read_text()] == []
