"""Several regular expressions at once."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.patterns import Patterns

SOME = [
    *(
        "/api",
        "/a(p)i",
        "(/)(a|b)",
        "/b.*",
        "(?P<name>/c)",
        "(?P<name>/c+)",
        r"(/)\1",
        r"/(a)(?(1)b|c)",
    ),
    *("(?i)/API", "(?x) / a", "", ".*", "/api/(?:2|3)", "(?P<x>.)(?P=x)", r"\\1", "/$", "/a|/b"),
]
TEXTS = ["", "/", "//", "/a", "/ab", "/b", "/cc", "/API", "/api", "/api/2", "/api/2.0", "x", "\\1"]


@given(st.lists(st.sampled_from(SOME), max_size=8), st.sampled_from(TEXTS))
def test_the_same_as_one_by_one(sources: list[str], text: str) -> None:
    """The first that matches is found, however the expressions are asked."""
    each = [re.compile(source) for source in sources]
    patterns = Patterns(each)
    begins = [index for index, pattern in enumerate(each) if pattern.match(text)]
    whole = [index for index, pattern in enumerate(each) if pattern.fullmatch(text)]
    assert patterns.match(text) == next(iter(begins), None)
    assert patterns.fullmatch(text) == next(iter(whole), None)


@pytest.mark.parametrize(
    ("sources", "joined"),
    [
        (["/a", "/(b)"], True),
        (["(?P<x>a)(?P=x)", "b"], True),
        ([], False),
        (["/a", r"(b)\1"], False),
        (["/a", "(b)(?(1)c)"], False),
        (["/a", "(?i)b"], False),
        (["(?P<x>a)", "(?P<x>b)"], False),
    ],
)
def test_what_is_joined(sources: list[str], joined: bool) -> None:
    """What would mean something else in one expression is asked one by one."""
    assert (Patterns([*map(re.compile, sources)])._joined is not None) is joined
