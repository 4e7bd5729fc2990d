"""What to do about each finding of the diagnosis."""

from __future__ import annotations

import pytest

from addon.registry.diagnosis import advice, report
from addon.registry.dialect import (
    ABSENT,
    GUARDED,
    HTTPS,
    PAGES,
    SILENT,
    Finding,
)
from addon.rules import rules_file

URL = "https://r.example:8443"
AGAIN = f"scripts/probe.sh --diagnose {URL}"
TOKEN = "MLFLOW_TRACKING_TOKEN"
RULE = "upstream:\n  external_hosts: [r.example:8443]"


@pytest.mark.parametrize(
    ("found", "authenticated", "words"),
    [
        (Finding("standard", "", "x"), False, ["No rule is needed."]),
        (Finding("ajax", "", "x"), False, [RULE]),
        (Finding("ajax", "/x", "x"), False, [RULE + "\n  base_path: /x"]),
        (Finding(None, "", GUARDED), False, [f"{TOKEN}=... {AGAIN}", "The proxy needs none", RULE]),
        (Finding(None, "", GUARDED), True, ["were refused", TOKEN, AGAIN, RULE]),
        (Finding(None, "", PAGES), False, ["with credentials", TOKEN, f"{AGAIN}/PATH", RULE]),
        (Finding(None, "", PAGES), True, ["with other credentials", f"{AGAIN}/PATH", RULE]),
        (
            Finding(None, "", HTTPS),
            False,
            ["(https://r.example:8443)", "--diagnose https://r.example:8443"],
        ),
        (Finding(None, "", ABSENT), False, [f"{AGAIN}/PATH", "upstream.base_path"]),
        (Finding(None, "", SILENT), False, ["name and port", "_SERVER_CERT_PATH", AGAIN]),
    ],
)
def test_report(found: Finding, authenticated: bool, words: list[str]) -> None:
    """The report ends with an instruction, never with a question."""
    text = "\n".join(report(found, URL, authenticated=authenticated))
    assert text.startswith(f"{URL}\nfinding: {found.reason}\n")
    assert "?" not in text
    for word in words:
        assert word in text
    # The suggested rule can be pasted.
    if (begin := text.find("\nupstream:")) >= 0:
        upstream = rules_file.parse(text[begin:], "pasted").upstream
        assert upstream.is_listed("r.example", 8443)


def test_report_below_a_path() -> None:
    """If nothing is served below a path, the report suggests another one."""
    text = "\n".join(report(Finding(None, "/a", ABSENT), f"{URL}/a", authenticated=False))
    assert f"{AGAIN}/PATH" in text


def test_advice_about_prefixes() -> None:
    """The log line names the base path that may be missing."""
    said = advice(Finding(None, "", GUARDED, prefixes=("/team-a",)))
    assert said.endswith(
        "clients ask below /team-a: where MLflow is there, set upstream.base_path to it"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (GUARDED, "MLFLOW_TRACKING_TOKEN"),
        (PAGES, "upstream.dialect"),
        (ABSENT, "upstream.base_path"),
        (HTTPS, "https:// in place of http://"),
        (SILENT, ""),
        ("an internal error", ""),
    ],
)
def test_advice(reason: str, words: str) -> None:
    """The advice in the log is empty if waiting is enough."""
    said = advice(Finding(None, "", reason))
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (GUARDED, "set the dialect of the mount in the rules, or add credentials for its host "),
        (PAGES, "set the dialect of the mount in the rules; otherwise the first client "),
        (HTTPS, "write https:// in place of http:// in the upstream of the mount"),
        (ABSENT, "if it serves below a path, add that to the upstream of the mount"),
        (SILENT, ""),
    ],
)
def test_advice_for_a_mount(reason: str, words: str) -> None:
    """The advice names the keys of the mount: others do not change its registry."""
    said = advice(Finding(None, "", reason, prefixes=("/x",)), of_mount=True)
    assert said.startswith(words)
    assert said.endswith("where MLflow is there, add it to the upstream of the mount")
    assert "upstream.base_path" not in said
    assert "upstream.dialect" not in said
