"""Asks an advisory service about everything that production installs, for each Python.

It runs pip-audit and checks its report, because pip-audit reports skipped packages as "no known
vulnerabilities", and only checks packages that its own Python would install.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from install import lock_file

LOCKS = Path(__file__).resolve().parent / "locks"


class AuditError(RuntimeError):
    """Some packages could not be audited."""


def main(arguments: Sequence[str]) -> int:
    """Print a paragraph for each Python; return 1 for findings, 2 if not everything was audited."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    pythons, options = arguments[:cut] or lock_file.PYTHONS, arguments[cut + 1 :]
    if unknown := [python for python in pythons if python not in lock_file.PYTHONS]:
        print(f"expected one of {', '.join(lock_file.PYTHONS)}: {unknown[0]}", file=sys.stderr)
        return 2
    code = 0
    for python in pythons:
        pins = [*lock_file.read(LOCKS / "build.lock"), *lock_file.read(LOCKS / "requirements.lock")]
        installed = lock_file.installed_by(python, pins)
        try:
            found = findings(ask(installed, options), installed)
        except AuditError as error:
            print(f"Python {python}: NOT AUDITED: {error}", file=sys.stderr)
            code = 2
            continue
        verdict = f"Python {python}: {len(installed)} packages, known vulnerabilities: {len(found)}"
        print("\n  ".join([verdict, *found]))
        code = max(code, int(bool(found)))
    return code


def ask(installed: dict[str, str], options: Sequence[str]) -> Any:
    """Return the report of pip-audit.

    Raises:
        AuditError: there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("".join(f"{name}=={installed[name]}\n" for name in installed))
        command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(wanted)]
        command += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--aliases", "on", "--desc", "off"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(run.stdout)
    except ValueError as error:
        last = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
        raise AuditError(f"pip-audit: {last[0]}") from error


def findings(report: Any, installed: dict[str, str]) -> list[str]:
    """Return a line for each known vulnerability.

    Args:
        report: the JSON of pip-audit.
        installed: versions of the audited packages by name.

    Raises:
        AuditError: the report does not cover all of them.
    """
    answers = {entry["name"]: entry for entry in report["dependencies"]}
    told = {name for name, entry in answers.items() if entry.get("version") == installed.get(name)}
    if missing := sorted(installed.keys() - told):
        reason = answers.get(missing[0], {}).get("skip_reason", f"no answer about {missing[0]}")
        raise AuditError(f"{len(missing)} of {len(installed)} packages: {reason}")
    return [
        f"{name} {installed[name]}: "
        f"{' '.join([vulnerability['id'], *sorted(vulnerability['aliases'])])}, "
        f"fixed in {' '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for name in sorted(installed)
        for vulnerability in answers[name]["vulns"]
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
