"""scripts/install/audit.sh with the real pip-audit and a fake vulnerability service."""

import json
import socket
import subprocess

import lab
import pytest
from support.upstream import Received, Upstream, response

KNOWN = {"h2": "4.1.0", "mitmproxy": "11.0.2"}


def answer(request: Received, connection: socket.socket) -> bool:
    """Answer like OSV: https://google.github.io/osv.dev/post-v1-query/."""
    query = json.loads(request.body)
    name = query["package"]["name"]
    known = KNOWN.get(name) == query["version"]
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
    affected = {"package": query["package"], "ranges": [fixed]}
    found = {"id": f"TEST-{name}", "aliases": ["CVE-1"], "affected": [affected]}
    body = json.dumps({"vulns": [found]} if known else {}).encode()
    connection.sendall(response("200 OK", body))
    return True


def audit(url: str, *pythons: str) -> subprocess.CompletedProcess[str]:
    """Run the script against a service."""
    options = ["--vulnerability-service", "osv", "--osv-url", url]
    return subprocess.run(
        [lab.ROOT / "scripts" / "install" / "audit.sh", *pythons, "--", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_findings_for_each_python() -> None:
    """Findings are reported per Python; versions locked only for 3.11 do not count for 3.13."""
    with Upstream(answer) as service:
        run = audit(service.url, "3.11", "3.13")
        assert run.returncode == 1, run.stderr
        old, new = run.stdout.split("Python 3.13: ")
        assert old.startswith("Python 3.11: ")
        assert old.splitlines()[0].endswith(" packages, known vulnerabilities: 2")
        assert old.splitlines()[1:] == [
            "  h2 4.1.0: CVE-1 TEST-h2, fixed in 99",
            "  mitmproxy 11.0.2: CVE-1 TEST-mitmproxy, fixed in 99",
        ]
        assert new.endswith(" packages, known vulnerabilities: 0\n")
        assert audit(service.url, "3.12", "3.13").returncode == 0


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "200 OK"])
def test_a_failing_service(status: str) -> None:
    """A service that returns an error or HTML gives exit code 2 and a NOT AUDITED line."""
    with Upstream(response(status, b"<html>")) as service:
        run = audit(service.url, "3.13")
    assert run.returncode == 2
    assert "Python 3.13: NOT AUDITED: pip-audit: " in run.stderr
    assert run.stdout == ""


def test_no_service() -> None:
    """A refused connection gives exit code 2 and an error message that says so."""
    run = audit(f"http://127.0.0.1:{lab.free_port()}", "3.13")
    assert run.returncode == 2
    assert "Connection refused" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_unknown_python() -> None:
    """A Python version that the lock does not cover is refused with exit code 2."""
    run = audit("http://127.0.0.1:9", "2.7")
    assert run.returncode == 2
    assert run.stderr.endswith("expected one of 3.11, 3.12, 3.13: 2.7\n")
