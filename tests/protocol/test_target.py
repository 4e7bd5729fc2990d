"""Request targets: their meaning, and the place of each part in the raw path."""

import pytest

from addon.protocol import target

MOUNTS = ("/api/mlflow", "/mlflow", "")


@pytest.mark.parametrize(
    ("received", "mount", "raw", "path"),
    [
        ("/", "", "/", "/"),
        ("/api/2.0/mlflow/runs/get", "", "/api/2.0/mlflow/runs/get", "/api/2.0/mlflow/runs/get"),
        ("/mlflow", "/mlflow", "/", "/"),
        ("/mlflow/", "/mlflow", "/", "/"),
        ("/mlflow/api/2.0/x", "/mlflow", "/api/2.0/x", "/api/2.0/x"),
        ("/api/mlflow/api/2.0/x", "/api/mlflow", "/api/2.0/x", "/api/2.0/x"),
        # Segment boundaries: no mount ends within a name.
        ("/mlflowx/api", "", "/mlflowx/api", "/mlflowx/api"),
        ("/api/mlflow-artifacts", "", "/api/mlflow-artifacts", "/api/mlflow-artifacts"),
        # A mount is taken off once.
        ("/mlflow/mlflow/x", "/mlflow", "/mlflow/x", "/mlflow/x"),
        # Servers route on the decoded path and ignore repeated leading slashes.
        ("/%61pi/2.0/x", "", "/%61pi/2.0/x", "/api/2.0/x"),
        ("//api/2.0/x", "", "//api/2.0/x", "/api/2.0/x"),
        ("///mlflow//api/x", "/mlflow", "//api/x", "/api/x"),
        ("/%2Fapi/x", "", "/%2Fapi/x", "/api/x"),
        ("/ml%66low/api/x", "/mlflow", "/api/x", "/api/x"),
        ("/mlflow%2Fapi/x", "/mlflow", "/api/x", "/api/x"),
        ("/mlflow%2fapi/x", "/mlflow", "/api/x", "/api/x"),
        # A false escape stays; decoding happens once.
        ("/a%zz%4", "", "/a%zz%4", "/a%zz%4"),
        ("/a%2541", "", "/a%2541", "/a%41"),
        ("/%C3%A4/%ff", "", "/%C3%A4/%ff", "/ä/\udcff"),
        ("*", "", "*", "*"),
        ("", "", "/", "/"),
    ],
)
def test_read(received: str, mount: str, raw: str, path: str) -> None:
    """A target is split into mount, raw path and decoded path."""
    read = target.read(received, MOUNTS)
    assert read is not None
    assert (read.received, read.mount, read.raw, read.path) == (received, mount, raw, path)


def test_outside_of_every_mount() -> None:
    """If the root is not a mount, a path outside of all mounts is not served."""
    assert target.read("/api/2.0/mlflow", ("/mlflow",)) is None


@pytest.mark.parametrize(
    "received",
    ["/plain/path", "/%61pi/%C3%A4b/x%20y", "//a/b", "//%2Fa%2fb/%41", "/%F0%9F%98%80/z"],
)
def test_raw_index_connects_both_readings(received: str) -> None:
    """Cutting the raw path at a decoded character's place leaves the same rest."""
    read = target.read(received, ("",))
    assert read is not None
    for index in range(1, len(read.path) + 1):
        rest = read.raw[read.raw_index(index) :]
        assert target._decode(rest)[0] == read.path[index:]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/api/x", None),
        ("/api/x%23", None),
        ("/api/x#", "a fragment"),
        ("/api/x%0a", "control characters"),
        ("/%00api", "control characters"),
        ("/api/%7f", "control characters"),
        ("/mlflow/x%1F", "control characters"),
        ("/api/x%20%c2%85", None),
    ],
)
def test_ambiguity(path: str, problem: str | None) -> None:
    """A path that servers read in different ways is ambiguous."""
    read = target.read(path, ("/mlflow", ""))
    assert read is not None
    assert target.ambiguity(read) == problem


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", None),
        ("a=%23%00&b=\udcff", None),
        ("a#b", "a fragment"),
        ("a\x00", "control characters"),
    ],
)
def test_flaw(query: str, problem: str | None) -> None:
    """A query that servers read in different ways is ambiguous."""
    assert target.flaw(query) == problem


@pytest.mark.parametrize(
    ("path", "folded"),
    [
        ("/api/2.0/x", "/api/2.0/x"),
        ("/api/2.0/x/", "/api/2.0/x/"),
        ("/api//2.0/./x", "/api/2.0/x"),
        ("/a/../api/x", "/api/x"),
        ("/a/b/../../api/x", "/api/x"),
        ("/api%2fx", "/api/x"),
        ("/api%252fx", "/api/x"),
        ("/api\\x", "/api/x"),
        ("/api;v=1/x;y", "/api/x"),
        ("/a/%2e%2e/api", "/api"),
        ("/a/.%252e/api", "/api"),
        ("/%25252541", "/A"),
        ("/%252%3541", "/A"),
        ("/%" + "25" * 30_000 + "41%25", "/A%"),
        ("/a..b/..a/b../.../%", "/a..b/..a/b../.../%"),
        # The largest number of layers that are decoded.
        ("/" + "%" * 8 + "3" * 7 + "41", "/A"),
    ],
)
def test_fold(path: str, folded: str) -> None:
    """The suspicious reading resolves everything that some server might resolve."""
    assert target.fold(path) == target.Folded(folded)


ABOVE = "dot segments that lead above its root"
ENCODED = "more than 8 layers of percent-encoding"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/..", ABOVE),
        ("/../api/x", ABOVE),
        ("/a/../../api/x", ABOVE),
        ("/%2e%2e/api", ABOVE),
        ("/%252e%252e/api", ABOVE),
        ("/..%2Fapi", ABOVE),
        ("/..\\api", ABOVE),
        ("/..;x/api", ABOVE),
        ("//../api", ABOVE),
        ("/./../api", ABOVE),
        ("/" + "%" * 9 + "3" * 8 + "41", ENCODED),
        ("/" + "%" * 30_000 + "3" * 29_999 + "41", ENCODED),
    ],
)
def test_unfoldable_paths(path: str, problem: str) -> None:
    """A path that leads above its root or has too many layers of encoding is a problem."""
    assert target.fold(path).problem == problem


@pytest.mark.parametrize(
    ("path", "first", "last"),
    [
        ("/api/2.0/mlflow/runs/get", 0, 0),
        ("/team-a/ajax-api/3.0/mlflow-artifacts/x", 7, 7),
        ("/a/b/api/2.0/preview/mlflow", 4, 4),
        ("/a/api/2.0/mlflow/x/api/2.0/mlflow/y", 2, 19),
        # Versions are numbers; for the strict gate, any segment may be one.
        ("/a/api/v1/mlflow/x", 0, 2),
        ("/static-files/get-artifact", 0, 0),
        # Without an API root, a route may begin anywhere.
        ("/team-a/get-artifact", 0, 20),
        ("/api/2.0/mlflowx", 0, 16),
    ],
)
def test_the_api_in_a_path(path: str, first: int, last: int) -> None:
    """The first and the last place where the API may begin in a path are found."""
    assert target.api_index(path) == first
    assert target.last_root(path) == last


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("/api/2.0/x?token=secret", "/api/2.0/x"),
        ("/api/2.0/x#secret", "/api/2.0/x"),
        ("/api;v=secret/2.0/x;secret", "/api/2.0/x"),
        ("/x%3Ftoken=secret/y", "/x"),
        ("/x%252523secret", "/x"),
        ("/x%3btoken=secret/y", "/x/y"),
        ("/a%20b/%C3%A4/c=d&e", "/a%20b/%C3%A4/c=d&e"),
        # User and password in any URL.
        ("http://user:secret@x/a@b", "http://x/a@b"),
        ("//user:secret@x/", "//x/"),
        ("///user:secret@x", "///x"),
        ("//user:s@secret@x/", "//x/"),
        ("//user:s;secret@x/", "//x/"),
        ("user:secret@x/y", "x/y"),
        ("%2f%2Fuser:secret%40x%2fy", "%2f%2Fx%2fy"),
        ("%252f%25252Fuser:secret%2540x", "%252f%25252Fx"),
        ("/mlflow/http:%2F/user:secret@x/y", "/mlflow/http:%2F/x/y"),
        ("\\\\user:secret@x/y", "\\\\x/y"),
        ("/skills/@org/name/a@b/versions", "/skills/@org/name/a@b/versions"),
        ("/a%40b/user@x", "/a%40b/user@x"),
    ],
)
def test_shown(received: str, shown: str) -> None:
    """Possible secrets are left out, in any spelling; the rest of the path is unchanged."""
    assert target.shown(received) == shown
