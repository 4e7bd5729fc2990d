"""Reads the files in scripts/install/locks/."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

PYTHONS = ("3.11", "3.12", "3.13")
"""The supported and tested versions."""


@dataclass(frozen=True)
class Pin:
    """One package, as in a requirements file of pip."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the package, as the lock files spell it."""
        return self.requirement.name

    @property
    def version(self) -> str:
        """The exact version; "" if there is none."""
        specifiers = list(self.requirement.specifier)
        exact = len(specifiers) == 1 and specifiers[0].operator == "=="
        return specifiers[0].version if exact else ""

    def is_for(self, python: str) -> bool:
        """Return whether a Python, such as "3.11", installs it on this system."""
        versions = {"python_version": python, "python_full_version": f"{python}.0"}
        marker = self.requirement.marker
        return marker is None or marker.evaluate(versions)


def read(path: Path) -> list[Pin]:
    """Return all pins of a lock file.

    Raises:
        InvalidRequirement: a line is neither a comment nor a requirement, such as an option.
    """
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [_pin(line) for line in lines if line.strip()]


def _pin(line: str) -> Pin:
    requirement, *hashes = line.split("--hash=")
    return Pin(Requirement(requirement), tuple(part.strip() for part in hashes))


def installed_by(python: str, pins: Iterable[Pin]) -> dict[str, str]:
    """Return the versions of all packages that a Python installs, by name."""
    return {pin.name: pin.version for pin in pins if pin.is_for(python)}
