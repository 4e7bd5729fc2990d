"""Regular expressions that match from any slash of a path."""

import re

import pytest

from addon.rules.patterns import below_any_prefix


@pytest.mark.parametrize(
    ("pattern", "path", "start"),
    [
        ("/get-artifact", "/get-artifact", 0),
        ("/get-artifact", "/team-a/get-artifact", 7),
        ("/get-artifact", "/a/b/c/get-artifact", 6),
        # The match begins at a slash and must reach the end.
        ("/get-artifact", "/get-artifact/x", None),
        ("/get-artifact", "/team-a/get-artifacts", None),
        ("get-artifact", "/team-a/get-artifact", None),
        ("/a|/b", "/x/a/b", 4),
        ("/a|/b", "/x/a/c", None),
        ("/api(/.*)?", "/x/api/y\nz", 2),
        # An anchor for the beginning keeps its meaning.
        ("^/api", "/api", 0),
        ("^/api", "/x/api", None),
        # Groups keep their numbers, and flags keep their meaning.
        (r"/(a)\1", "/x/aa", 2),
        ("(?i)/API", "/x/api", 2),
        ("(?x) / a", "/x/a", 2),
        ("(?x) / a # a comment", "/x/a", 2),
    ],
)
def test_below_any_prefix(pattern: str, path: str, start: int | None) -> None:
    """The rest of the path from some slash must match in full; the match has that position."""
    found = below_any_prefix(re.compile(pattern)).search(path)
    assert (found and found.start()) == start
