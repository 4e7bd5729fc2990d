"""The registry: which hosts are external, and which rules apply to them."""

from pathlib import Path

import pytest

from addon.rules import rules_file

ROOT = Path(__file__).resolve().parents[2]


def test_changing_the_shipped_host_is_enough() -> None:
    """Replacing the host in the shipped rules makes the new one external."""
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
    """An entry matches a whole host name, with all of its ports or one."""
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
    """A rule applies to the kind of upstream, or the hosts, that it names."""
    text = f"rewrites: [{{name: a, match: ^/, replace: /, upstream: {condition}}}]"
    rule = rules_file.parse(text, "test").rewrites[0]
    assert rule.applies_to(host, 80, external) is applies
