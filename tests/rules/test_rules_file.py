"""The rules file: which mistakes are refused, with which messages."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from addon.rules import rules_file

REWRITE = "rewrites:\n  - name: a\n    match: ^/a\n    replace: /b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("upstrem: {}", "f:1: upstrem: unknown key; did you mean 'upstream'?"),
        (
            "x: 1",
            "f:1: x: unknown key; expected one of "
            "upstream, mounts, allowed_hosts, rewrites, origins, forwarded, artifacts, "
            "refused, errors, streaming, limits, drain, health",
        ),
        (
            "upstream: {credentials: [{host: a, token: a-secret}]}",
            "f:1: upstream.credentials[0].token: unknown key; "
            "expected one of host, scheme, file, env",
        ),
        (
            "upstream: {credentials: [{host: a, file: /run/secret, env: SECRET}]}",
            "f:1: upstream.credentials[0]: expected either file or env, where the secret is",
        ),
        (
            "upstream: {credentials: [{host: a, file: secret}]}",
            "f:1: upstream.credentials[0].file: 'secret': expected an absolute path",
        ),
        (
            "upstream:\n  external_hosts:\n    - https://registry.example/",
            "f:3: upstream.external_hosts[0]: 'https://registry.example/': "
            "expected a host name or host:port, without scheme and path",
        ),
        ("upstream: 5", "f:1: upstream: 5: expected a mapping"),
        ("refused: [{name: a}]", "f:1: refused[0]: expected either family or path"),
        (
            "refused: [{name: a, family: tracking, path: /x}]",
            "f:1: refused[0]: expected either family or path",
        ),
        (
            "refused: [{name: a, family: models}]",
            "f:1: refused[0].family: 'models': expected 'tracking' or 'registry'",
        ),
        (
            "refused:\n- name: a\n  path: /x\n  operations: [update]",
            "f:4: refused[0].operations[0]: 'update': expected 'read', 'write' or 'delete'",
        ),
        (
            "refused: [{name: a, path: /x, status: 404}]",
            "f:1: refused[0].status: 404: expected 403, 501 or 503",
        ),
        (
            "refused: [{name: a, path: /x}, {name: a, path: /y}]",
            "f:1: refused: duplicate name 'a'; expected each name once",
        ),
        (
            "upstream: {base_path: mlops}",
            "f:1: upstream.base_path: 'mlops': "
            "expected a path of plain segments that starts with /",
        ),
        (
            "allowed_hosts: ['https://a.example']",
            "f:1: allowed_hosts[0]: 'https://a.example': "
            "expected a host name, an IP address or a network, with or without a port, such as "
            "mlflow.example.org:8080, *.example.org, 10.0.0.0/8 or [::1]:8080",
        ),
        (
            "allowed_hosts: ['10.0.*']",
            "f:1: allowed_hosts[0]: '10.0.*': "
            "expected a network instead: 10.0.0.0/16",
        ),
        (
            "origins: {allowed: ['https://lab.example:443']}",
            "f:1: origins.allowed[0]: 'https://lab.example:443': "
            "expected an origin as browsers send it, without the scheme's default port",
        ),
        ("mounts: []", "f:1: mounts: List should have at least 1 item after validation, not 0"),
        ("mounts: [/a, /a/]", "f:1: mounts: duplicate name '/a'; expected each name once"),
        (
            "rewrites:\n  - name: a\n    match: ^/(\n    replace: /b",
            "f:3: rewrites[0].match: '^/(': not a valid regular expression: "
            "missing ), unterminated subpattern at position 2",
        ),
        (
            "rewrites:\n  - name: a\n    match: 5\n    replace: /b",
            "f:3: rewrites[0].match: 5: expected a regular expression in a string",
        ),
        (
            "rewrites:\n  - name: a\n    match: ^/a\n    replace: b",
            "f:2: rewrites[0]: replace: 'b': expected a path that starts with /",
        ),
        (
            "rewrites:\n  - name: a\n    match: ^/a\n    replace: /\\1",
            "f:2: rewrites[0]: replace: '/\\\\1' does not fit match: "
            "invalid group reference 1 at position 2",
        ),
        ("rewrites:\n  - match: ^/a\n    replace: /b",
         "f:2: rewrites[0].name: missing; expected a value"),
        (REWRITE + REWRITE[10:], "f:1: rewrites: duplicate name 'a'; expected each name once"),
        (
            REWRITE + '    filter: "~q ~m"',
            "f:5: rewrites[0].filter: '~q ~m': not a valid mitmproxy filter: ",
        ),
        (
            REWRITE + '    filter: "~m PUT & ~bq x"',
            "f:5: rewrites[0].filter: '~m PUT & ~bq x': ~bq asks for a body or a response; "
            "expected a filter on the request line and headers",
        ),
        (
            "origins: {allowed: [lab.example.org]}",
            "f:1: origins.allowed[0]: 'lab.example.org': "
            "expected an origin such as https://lab.example.org, or *",
        ),
        ("artifacts: {enabled: 'yes'}", "f:1: artifacts.enabled: 'yes': expected true or false"),
        (
            "streaming: {threshold: 1MB}",
            "f:1: streaming.threshold: '1MB': "
            "expected a number of bytes, or one with a unit such as 512KiB or 1MiB",
        ),
        (
            "errors: {codes: {404: lower}}",
            "f:1: errors.codes.404: 'lower': expected text that matches ^[A-Z][A-Z0-9_]*$",
        ),
        (
            "errors:\n  codes:\n    200: OK",
            "f:3: errors.codes.200: 200: "
            "expected an error status such as 404, or a class of them: 4xx, 5xx",
        ),
        (
            "errors: {vocabulary: native}",
            "f:1: errors.vocabulary: 'native': expected 'default' or 'mlflow'",
        ),
        (
            "errors:\n  overrides:\n    - statuses: [500]",
            "f:3: errors.overrides[0]: expected a status, an error_code or a message to send",
        ),
        (
            "errors: {overrides: [{statuses: [200], status: 404}]}",
            "f:1: errors.overrides[0].statuses[0]: 200: "
            "expected an error status such as 404, or a class of them: 4xx, 5xx",
        ),
        (
            "errors: {overrides: [{statuses: [], status: 404}]}",
            "f:1: errors.overrides[0].statuses: List should have at least 1 item",
        ),
        (
            "errors: {overrides: [{statuses: [500], status: 200}]}",
            "f:1: errors.overrides[0].status: 200: expected greater than or equal to 400",
        ),
        (
            "errors: {login: {redirects: /login}}",
            "f:1: errors.login.redirects: '/login': expected a list",
        ),
        (
            "artifacts: {endpoints: [{path: /x, operation: list}]}",
            "f:1: artifacts.endpoints[0].operation: 'list': expected 'read', 'write' or 'delete'",
        ),
        (
            "health: {timeout: 0}",
            "f:1: health.timeout: 0: expected greater than 0",
        ),
        (
            "health: {probes: [{name: a, path: /livez}]}",
            "f:1: health.probes[0].path: '/livez': "
            "expected a path of the upstream; the proxy answers this one itself",
        ),
        (
            "health: {probes: [{name: a, path: /x}, {name: a, path: /y}]}",
            "f:1: health: duplicate name 'a'; expected each name once",
        ),
        ("a: 1\nb: 2\na: 3", "f:3: not valid YAML: duplicate key 'a', first used in line 1"),
        ("a: [", "f:1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: &x [*x]", "f:1: not valid YAML: an alias must not contain itself"),
        ("- a", "f:1: the file: expected a mapping"),
        ("a: !!python/object:os.system {}",
         "f:1: not valid YAML: could not determine a constructor"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    """Each mistake is reported with file, line, key path, value and expectation."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse(text, "f")
    assert str(error.value).startswith(message), str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_all_mistakes_are_named_at_once() -> None:
    """All mistakes are reported at once, in the order of their lines."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse("artifacts: {enabled: 1}\nmounts: 5\nupstream: {x: 1}", "f")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["1", "2", "3"]


def test_unreadable_file(tmp_path: Path) -> None:
    """The message names a file that is missing or not text."""
    with pytest.raises(rules_file.RulesError, match=r"cannot read the rules: .*No such file"):
        rules_file.load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(rules_file.RulesError, match=r"binary\.yaml:1: .*: expected text in UTF-8"):
        rules_file.load(tmp_path / "binary.yaml")


ALIASES = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP_ALIASES = "a: &a0 1\n" + "".join(f"b{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))
NESTED = "nested too deep; expected 50 levels at most"
MANY = "too many values; expected 100000 at most, aliases included"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "f:1: not valid YAML: exceeded maximum nesting depth"),
        ("{a: " * 100_000, f"f:1: not valid YAML: {NESTED}"),
        ("- " * 100_000, f"f:1: not valid YAML: {NESTED}"),
        ("? " * 100_000, f"f:1: not valid YAML: {NESTED}"),
        ("\n".join(f"{' ' * i}a:" for i in range(1000)), f"f:51: not valid YAML: {NESTED}"),
        ("mounts: " + "[" * 200 + "]" * 200, f"f:1: not valid YAML: {NESTED}"),
        (DEEP_ALIASES, f"f:.*: not valid YAML: {NESTED}"),
        (ALIASES, f"f:1: not valid YAML: {MANY}"),
        (MERGES, f"f:1: not valid YAML: {MANY}"),
        ("- 1\n" * 200_000, f"f:100000: not valid YAML: {MANY}"),
        ("a: 1\nb: \0", r"f:2: not valid YAML: the character '\\x00' is not allowed in YAML"),
        ("a: 1\nb: \x1b[2J", r"f:2: not valid YAML: the character '\\x1b' is not allowed in YAML"),
        ("a: *none", "f:1: not valid YAML: found undefined alias"),
        ("<<: 1", "f:1: not valid YAML: expected a mapping or list of mappings for merging"),
        ("<<: &a\n  b: *a", "f:.*: not valid YAML: an alias must not contain itself"),
        ("? [a]\n: 1", "f:1: not valid YAML: a key must be text, not a list or a mapping"),
        (f"a: {'9' * 5000}", "f:1: not valid YAML: '9999.*9' is not a valid int"),
        ("a:\n  2020-13-45", "f:2: not valid YAML: '2020-13-45' is not a valid timestamp"),
        ("2020-13-45: 1", "f:1: not valid YAML: '2020-13-45' is not a valid timestamp"),
        ("a: !!int ''", "f:1: not valid YAML: '' is not a valid int"),
        ("a: !!bool maybe", "f:1: not valid YAML: 'maybe' is not a valid bool"),
        ("a: !!binary x", "f:1: not valid YAML: .*"),
        (
            f"streaming: {{threshold: -0x{'f' * 9000}}}",
            "f:1: streaming.threshold: a number with thousands of digits: "
            "expected a number of bytes",
        ),
        (f"mounts: {'x' * 9000}", "f:1: mounts: 'xxx.*xxx': expected a list"),
        ('"a\\nb\\e": 1', r"f:1: 'a\\nb\\x1b': unknown key; expected one of .*"),
        (f"{'k' * 900}: 1", "f:1: 'kkk.*kkk': unknown key; expected one of .*"),
        (
            f"rewrites: [{{name: a, match: {'(' * 3000}{')' * 3000}, replace: /}}]",
            "f:1: rewrites.*not a usable regular expression: nested too deep",
        ),
        (
            "rewrites: [{name: a, match: 'a{999999999999}', replace: /}]",
            "f:1: rewrites.*not a valid regular expression: the repetition number is too large",
        ),
        (
            f"rewrites: [{{name: a, match: a, replace: /, filter: '{'!' * 5000}~q'}}]",
            "f:1: rewrites.*: not a usable mitmproxy filter: nested too deep",
        ),
    ],
)  # fmt: skip
def test_harmful_input(text: str, message: str) -> None:
    """Input that would crash the process, fill its memory or break a library: a short message."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse(text, "f")
    said = str(error.value)
    assert re.match(message, said), said[:1000]
    assert len(said) < 1000
    assert said.isprintable()


def test_many_mistakes() -> None:
    """The first mistakes are listed, and the others are counted."""
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.parse("\n".join(f"a{i}: 1" for i in range(1000)), "f")
    lines = str(error.value).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "f: 950 more problem(s)"


def test_another_encoding(tmp_path: Path) -> None:
    """The message has the line of the first byte that is not UTF-8."""
    path = tmp_path / "rules.yaml"
    for data, message in (
        ("mounts: []".encode("utf-16"), f"{path}:1: cannot read 0xff: expected text in UTF-8"),
        (
            "a: 1\nb: \u00e9".encode("latin-1"),
            f"{path}:2: cannot read 0xe9: expected text in UTF-8",
        ),
        ("\ufeffx: 1".encode(), f"{path}:1: x: unknown key"),
    ):
        path.write_bytes(data)
        with pytest.raises(rules_file.RulesError) as error:
            rules_file.load(path)
        assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "expected a regular file"),
        (os.mkdir, "expected a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a regular file"),
        (lambda path: path.symlink_to("/dev/tty"), "(expected a regular file|No such device.*)"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("none"), "No such file or directory"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "No such device or address"),
        (lambda path: path.write_bytes(b"#" * 2**21), "expected 1024 KiB at most"),
    ],
)  # fmt: skip
def test_not_a_regular_file(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    """Reading neither blocks nor loads a large file."""
    path = tmp_path / "rules.yaml"
    make(path)
    with pytest.raises(rules_file.RulesError) as error:
        rules_file.load(path)
    assert re.fullmatch(
        f"{re.escape(str(path))}: cannot read the rules: {message}", str(error.value)
    )


def test_an_impossible_file_name() -> None:
    """A name that no file can have is refused as well."""
    with pytest.raises(rules_file.RulesError, match="embedded null"):
        rules_file.load(Path("a\0b"))


def test_links_and_aliases(tmp_path: Path) -> None:
    """A link to a file is followed. Aliases and merges work up to a limit."""
    (tmp_path / "data").write_text(
        "upstream: {external_hosts: &names [a.example]}\nallowed_hosts: *names\n"
        "artifacts: {<<: {read: false}, write: false}\n"
    )
    (tmp_path / "rules.yaml").symlink_to("data")
    rules = rules_file.load(tmp_path / "rules.yaml")
    assert rules.upstream.external_hosts == ["a.example"]
    assert (rules.artifacts.read, rules.artifacts.write) == (False, False)
