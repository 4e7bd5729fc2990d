"""The section `mounts`: paths, and mappings with a registry of their own."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from addon.rules import rules_file

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "addon" / "rules.schema.json").read_text()
)
URL = "expected a URL such as https://registry.example.org/mlflow"


def with_mount(text: str) -> str:
    return f"mounts:\n  - /\n  - {text}\n"


@pytest.mark.parametrize(
    ("url", "scheme", "address", "base_path"),
    [
        ("https://a.example", "https", ("a.example", 443), ""),
        ("https://A.example/", "https", ("a.example", 443), ""),
        ("http://a.example/mlops/mlflow/", "http", ("a.example", 80), "/mlops/mlflow"),
        ("http://127.0.0.1:5000/mlflow", "http", ("127.0.0.1", 5000), "/mlflow"),
        ("https://[::1]:8443", "https", ("::1", 8443), ""),
    ],
)
def test_upstreams(url: str, scheme: str, address: tuple[str, int], base_path: str) -> None:
    """The URL of a mount has the address and the base path of its registry."""
    text = with_mount(f'{{path: /team-a/, upstream: "{url}"}}')
    rules = rules_file.parse(text, "f")
    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    mount = rules.mounts[1]
    assert (str(mount), mount.scheme, mount.address) == ("/team-a", scheme, address)
    assert (mount.base_path, mount.dialect, mount.artifacts.enabled) == (base_path, "auto", True)
    assert rules.mounts_longest_first == ("",)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("5", "f:3: mounts[1]: 5: expected a path such as /mlflow, or a mapping with path and "
         "upstream"),
        ("x", "f:3: mounts[1]: 'x': expected a path of plain segments that starts with /"),
        ("{upstream: http://a}", "f:3: mounts[1].path: missing; expected a value"),
        ("{path: /b, upstrem: http://a}",
         "f:3: mounts[1].upstrem: unknown key; did you mean 'upstream'?"),
        ("{path: /b, dialect: ajax}",
         "f:3: mounts[1]: expected an upstream as well, for which the other keys are"),
        ("{path: /b, artifacts: {enabled: false}}",
         "f:3: mounts[1]: expected an upstream as well, for which the other keys are"),
        ("{path: /, upstream: http://a}",
         "f:3: mounts[1]: path: '/': expected a path below the root, which is for the upstream of "
         "the command line"),
        ("{path: /b, upstream: a.example}", f"f:3: mounts[1].upstream: 'a.example': {URL}"),
        ("{path: /b, upstream: 'ftp://a'}", f"f:3: mounts[1].upstream: 'ftp://a': {URL}"),
        ("{path: /b, upstream: 'http://a:0'}", f"f:3: mounts[1].upstream: 'http://a:0': {URL}"),
        ("{path: /b, upstream: 'http://a:99999'}",
         f"f:3: mounts[1].upstream: 'http://a:99999': {URL}"),
        ("{path: /b, upstream: 'http://a/../b'}",
         f"f:3: mounts[1].upstream: 'http://a/../b': {URL}"),
        ("{path: /b, upstream: 'http://a//b'}", f"f:3: mounts[1].upstream: 'http://a//b': {URL}"),
        ("{path: /b, upstream: 5}", "f:3: mounts[1].upstream: 5: expected text"),
        # Such a URL may contain a secret.
        ("{path: /b, upstream: 'http://user:secret@a'}",
         "f:3: mounts[1].upstream: expected a URL without user, password, query and fragment"),
        ("{path: /b, upstream: 'http://a/?token=secret'}",
         "f:3: mounts[1].upstream: expected a URL without user, password, query and fragment"),
        ("{path: /b, upstream: http://a, dialect: x}",
         "f:3: mounts[1].dialect: 'x': expected 'auto', 'standard' or 'ajax'"),
        ("{path: /b, upstream: http://a, artifacts: {enable: false}}",
         "f:3: mounts[1].artifacts.enable: unknown key; did you mean 'enabled'?"),
        ("{path: /b, upstream: http://a, artifacts: {read: no-way}}",
         "f:3: mounts[1].artifacts.read: 'no-way': expected true or false"),
    ],
)  # fmt: skip
def test_mistakes(mount: str, message: str) -> None:
    """The message names the line, the key path, the value and what was expected."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse(with_mount(mount), "f")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mounts: [{path: /a, upstream: http://a}]",
            "f:1: mounts: expected a path for the upstream of the command line as well",
        ),
        (
            "mounts: [/, /a, {path: /a/, upstream: http://a}]",
            "f:1: mounts: duplicate name '/a'; expected each name once",
        ),
    ],
)
def test_mistakes_of_the_list(text: str, message: str) -> None:
    """One mount at least is for the command line's upstream, and each path is there once."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse(text, "f")
    assert str(error.value) == message


def test_mounts_as_text() -> None:
    """A mount without an upstream is a path, as most people write it."""
    rules = rules_file.parse(with_mount("{path: /a, upstream: http://a}"), "f")
    assert rules.model_dump(mode="json")["mounts"] == [
        "/",
        {
            "path": "/a",
            "upstream": "http://a",
            "dialect": "auto",
            "artifacts": {"enabled": True, "read": True, "write": True, "delete": True},
        },
    ]
