"""Reading pip-audit's reports."""

from typing import Any

import pytest
from install import audit

INSTALLED = {"h11": "0.16.0", "h2": "4.1.0"}
CLEAN = {"name": "h11", "version": "0.16.0", "vulns": []}
KNOWN = {"id": "PYSEC-1", "aliases": ["GHSA-3", "CVE-2"], "fix_versions": ["4.3.0"]}


def test_findings() -> None:
    """Each finding is one line with all of its names."""
    unfixed = {"id": "PYSEC-4", "aliases": [], "fix_versions": []}
    found = {"name": "h2", "version": "4.1.0", "vulns": [KNOWN, unfixed]}
    assert audit.findings({"dependencies": [CLEAN, found]}, INSTALLED) == [
        "h2 4.1.0: PYSEC-1 CVE-2 GHSA-3, fixed in 4.3.0",
        "h2 4.1.0: PYSEC-4, fixed in no version yet",
    ]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "2 of 2 packages: no answer about h11"),
        ([CLEAN], "1 of 2 packages: no answer about h2"),
        ([CLEAN, {"name": "h2", "skip_reason": "not found"}], "1 of 2 packages: not found"),
        ([CLEAN, CLEAN | {"name": "h2"}], "1 of 2 packages: no answer about h2"),
    ],
)
def test_missing_answers_are_errors(answers: list[dict[str, Any]], message: str) -> None:
    """pip-audit itself reports no known vulnerabilities in these cases."""
    with pytest.raises(audit.AuditError, match=message):
        audit.findings({"dependencies": answers}, INSTALLED)
