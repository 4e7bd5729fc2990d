"""Rewrites paths to the upstream and locations from it."""

import pytest

from addon.protocol import target
from addon.routing.rewrite import Origin, map_location, rewrite
from addon.rules import model as rules
from addon.rules import rules_file

SHIPPED = rules_file.load(rules_file.DEFAULT_PATH)


def sent(
    received: str, some_rules: list[rules.RewriteRule] | None = None, base_path: str = ""
) -> tuple[str, str | None]:
    read = target.read(received, SHIPPED.mounts_longest_first)
    assert read is not None
    rewrites = SHIPPED.rewrites if some_rules is None else some_rules
    return rewrite(read, rewrites, base_path)


@pytest.mark.parametrize(
    ("received", "upstream"),
    [
        ("/api/2.0/mlflow/runs/get", "/ajax-api/2.0/mlflow/runs/get"),
        ("/api/3.0/mlflow/traces", "/ajax-api/3.0/mlflow/traces"),
        ("/api/17.4/mlflow/traces", "/ajax-api/17.4/mlflow/traces"),
        ("/api/4/mlflow/traces", "/ajax-api/4/mlflow/traces"),
        ("/api/2.0/preview/mlflow/runs/get", "/ajax-api/2.0/preview/mlflow/runs/get"),
        ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow"),
        ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"),
        ("/api/2.0/mlflow-artifacts/artifacts/a/b", "/ajax-api/2.0/mlflow-artifacts/artifacts/a/b"),
        # Under the mounts.
        ("/mlflow/api/2.0/mlflow/runs/get", "/ajax-api/2.0/mlflow/runs/get"),
        ("/api/mlflow/api/2.0/mlflow/runs/get", "/ajax-api/2.0/mlflow/runs/get"),
        # Only the prefix changes.
        ("/api/2.0/mlflow/a%2Fb%20c+d;e=%C3%A4/", "/ajax-api/2.0/mlflow/a%2Fb%20c+d;e=%C3%A4/"),
        ("/api/2.0/mlflow/ä\udcff", "/ajax-api/2.0/mlflow/ä\udcff"),
        ("/api/2.0/mlflow//x//", "/ajax-api/2.0/mlflow//x//"),
        # Other spellings that the real server routes to the same place.
        ("/%61pi/2.0/mlflow/x%2Fy", "/ajax-api/2.0/mlflow/x%2Fy"),
        ("/api%2F2.0/mlflow%2Fx%2Fy", "/ajax-api/2.0/mlflow%2Fx%2Fy"),
        ("//api/2.0/mlflow/x", "/ajax-api/2.0/mlflow/x"),
    ],
)
def test_moves_to_ajax_api(received: str, upstream: str) -> None:
    """REST paths go to /ajax-api/; the rest of the path is kept byte for byte."""
    assert sent(received) == (upstream, "rest-to-ajax")


@pytest.mark.parametrize(
    "received",
    [
        "/",
        "/health",
        "/version",
        "/graphql",
        "/get-artifact",
        "/static-files/main.js",
        "/ajax-api/2.0/mlflow/runs/get",
        "/v1/traces",
        "/api/2.0/mlflowx",
        "/api/2.0/mlflow-artifactsx/y",
        "/api/2.0mlflow/experiments/search-datasets",
        "/api/v2/mlflow/x",
        "/api/2.0/other/mlflow/x",
        "/x/api/2.0/other",
        "/x/ajax-api/2.0/mlflow/runs/get",
        "/API/2.0/mlflow/runs/get",
    ],
)
def test_unchanged_paths(received: str) -> None:
    """A path outside the REST API stays unchanged."""
    assert sent(received) == (received, None)


@pytest.mark.parametrize(
    ("received", "upstream"),
    [
        ("/mlflow/static-files/a.js", "/base/static-files/a.js"),
        ("/api/2.0/mlflow/x", "/base/ajax-api/2.0/mlflow/x"),
        ("/mlflow", "/base/"),
    ],
)
def test_base_path(received: str, upstream: str) -> None:
    """The base path comes before every path, rewritten or not."""
    assert sent(received, base_path="/base")[0] == upstream


@pytest.mark.parametrize(
    ("received", "upstream"),
    [
        ("/team-a/api/2.0/mlflow/runs/get", "/team-a/ajax-api/2.0/mlflow/runs/get"),
        ("/a/b/api/2.0/mlflow-artifacts/mpu/a%2Fb", "/a/b/ajax-api/2.0/mlflow-artifacts/mpu/a%2Fb"),
        ("/mlflow/team-a/api/3.0/mlflow/x", "/team-a/ajax-api/3.0/mlflow/x"),
        ("/te%61m//%61pi/2.0/mlflow/%41", "/te%61m//ajax-api/2.0/mlflow/%41"),
        ("/ä%2Fapi/2.0/mlflow/x", "/ä/ajax-api/2.0/mlflow/x"),
        # Of two API roots, the first is the API, and the second is a name.
        ("/x/api/2.0/mlflow/y/api/2.0/mlflow", "/x/ajax-api/2.0/mlflow/y/api/2.0/mlflow"),
        ("/ajax-api/2.0/mlflow/y/api/2.0/mlflow", "/ajax-api/2.0/mlflow/y/api/2.0/mlflow"),
        ("/x/api/v1/y/api/2.0/mlflow", "/x/api/v1/y/ajax-api/2.0/mlflow"),
    ],
)
def test_below_a_prefix(received: str, upstream: str) -> None:
    """A prefix in front of MLflow stays as the client spelled it."""
    assert sent(received)[0] == upstream


def test_a_rule_for_the_whole_path_comes_first() -> None:
    """A rule that matches the whole path wins over one that matches below a prefix."""
    some = rules_file.parse(
        "rewrites:\n"
        "  - {name: api, match: ^/api/, replace: /ajax-api/}\n"
        "  - {name: prefix, match: ^/team-a/, replace: /}\n",
        "test",
    ).rewrites
    assert sent("/team-a/api/2.0/mlflow/x", some) == ("/api/2.0/mlflow/x", "prefix")
    assert sent("/team-b/api/2.0/mlflow/x", some) == ("/team-b/ajax-api/2.0/mlflow/x", "api")


def test_first_matching_rule_counts() -> None:
    """Rules are tried in order, and only the first match applies."""
    both = rules_file.parse(
        "rewrites:\n"
        "  - {name: a, match: ^/x/(y|z), replace: '/one/\\1'}\n"
        "  - {name: b, match: ^/, replace: /two/}\n",
        "test",
    ).rewrites
    assert sent("/x/z/r", both) == ("/one/z/r", "a")
    assert sent("/other", both) == ("/two/other", "b")
    # A group from an encoded path is encoded again.
    spaced = rules_file.parse(
        "rewrites: [{name: a, match: '^/x/([^/]*)', replace: '/one/\\1'}]", "test"
    ).rewrites
    assert sent("/x/a%20b/c%20d", spaced) == ("/one/a%20b/c%20d", "a")


UPSTREAM = Origin("http", "10.0.0.1", 5000)
PROXY = Origin("http", "proxy", 8080)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Absolute, to the upstream.
        ("http://10.0.0.1:5000/x?y#z", "http://proxy:8080/mlflow/x?y#z"),
        ("HTTP://10.0.0.1:5000/x", "http://proxy:8080/mlflow/x"),
        ("//10.0.0.1:5000/x", "http://proxy:8080/mlflow/x"),
        ("http://10.0.0.1:5000", "http://proxy:8080/mlflow/"),
        ("http://10.0.0.1:5000?q", "http://proxy:8080/mlflow/?q"),
        ("http://user@10.0.0.1:5000/x", "http://proxy:8080/mlflow/x"),
        # Absolute, to the proxy, from an upstream that knows the public host.
        ("http://proxy:8080/x", "http://proxy:8080/mlflow/x"),
        # Path only.
        ("/x?next=/y", "/mlflow/x?next=/y"),
        ("/", "/mlflow/"),
        # Relative to the request: the client resolves it under its mount.
        ("x/y", "x/y"),
        ("../x", "../x"),
        ("?page=2", "?page=2"),
        ("", ""),
        # Elsewhere.
        ("http://10.0.0.1:5001/x", "http://10.0.0.1:5001/x"),
        ("https://login.example/x", "https://login.example/x"),
        ("ftp://10.0.0.1:5000/x", "ftp://10.0.0.1:5000/x"),
        ("http://[::bad/x", "http://[::bad/x"),
        ("mailto:a@b", "mailto:a@b"),
        # A URL within the path or the query is left alone.
        ("/x?u=http://10.0.0.1:5000/", "/mlflow/x?u=http://10.0.0.1:5000/"),
        ("/api/2.0/mlflow/artifacts/s3://b/x", "/mlflow/api/2.0/mlflow/artifacts/s3://b/x"),
        ("artifacts/s3://b/x", "artifacts/s3://b/x"),
        ("http://10.0.0.1:5000/s3://b/x", "http://proxy:8080/mlflow/s3://b/x"),
    ],
)
def test_map_location(value: str, expected: str) -> None:
    """A location on the upstream gets the proxy's scheme, host and mount."""
    mapped = map_location(
        value,
        base="http",
        ours=[UPSTREAM, PROXY],
        public="http://proxy:8080",
        mount="/mlflow",
        base_path="",
    )
    assert mapped == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://registry.example/base/x", "https://proxy/x"),
        # Behind a TLS terminator, a server may think that its scheme is http.
        ("http://registry.example/base/x", "https://proxy/x"),
        ("https://registry.example:8443/base/x", "https://registry.example:8443/base/x"),
        ("/base", "/"),
        ("/base?x", "/?x"),
        ("/basement", "/basement"),
        ("/base/x", "/x"),
        # A path on the upstream must not become a host here.
        ("/base//evil.example/x", "/evil.example/x"),
        ("https://registry.example/base//x", "https://proxy//x"),
    ],
)
def test_map_location_removes_the_base_path(value: str, expected: str) -> None:
    """The base path is internal to the upstream and does not reach the client."""
    mapped = map_location(
        value,
        base="https",
        ours=[Origin("https", "registry.example", 443)],
        public="https://proxy",
        mount="",
        base_path="/base",
    )
    assert mapped == expected
