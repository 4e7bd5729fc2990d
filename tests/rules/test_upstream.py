"""The registry: which hosts are external, and to which a rule applies."""

from pathlib import Path

import pytest

from addon.rules import rules_file

ROOT = Path(__file__).resolve().parents[2]


def test_another_host_is_all_it_takes() -> None:
    """Putting one's own host in place of the shipped one makes it external."""
    text = (ROOT / "rules.yaml").read_text().replace("registry.hokus.ai", "Models.Example.org")
    upstream = rules_file.parse(text, "rules.yaml").upstream
    assert upstream.is_external("models.example.org", 443)
    assert upstream.is_external("MODELS.example.org.", 80)
    assert not upstream.is_external("registry.hokus.ai", 443)


@pytest.mark.parametrize(
    ("listed", "host", "port", "external"),
    [
        ("a.example", "a.example", 1, True),
        ("a.example", "b.a.example", 1, False),
        ("a.example:8443", "a.example", 8443, True),
        ("a.example:8443", "a.example", 443, False),
        ("127.0.0.1", "127.0.0.1", 5000, True),
        ('"[::1]"', "::1", 5000, True),
        ('"[::1]:5000"', "::1", 5000, True),
        ('"[::1]:5000"', "::1", 5001, False),
    ],
)
def test_external_hosts(listed: str, host: str, port: int, external: bool) -> None:
    """A host is listed as a whole, for all of its ports or for one."""
    parsed = rules_file.parse(f"upstream: {{external_hosts: [{listed}]}}", "test")
    assert parsed.upstream.is_external(host, port) is external


@pytest.mark.parametrize(
    ("condition", "host", "external", "applies"),
    [
        ("any", "h", True, True),
        ("any", "h", False, True),
        ("external", "h", True, True),
        ("external", "h", False, False),
        ("internal", "h", True, False),
        ("internal", "h", False, True),
        ("[h]", "h", False, True),
        ("[h]", "i", True, False),
    ],
)
def test_condition_on_the_upstream(
    condition: str, host: str, external: bool, applies: bool
) -> None:
    """A rule holds for the kind of upstream it names."""
    text = f"rewrites: [{{name: a, match: ^/, replace: /, upstream: {condition}}}]"
    rule = rules_file.parse(text, "test").rewrites[0]
    assert rule.applies_to(host, 80, external) is applies
