"""The lock files match pyproject.toml and the installed packages."""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import lab
import pytest
from install import lock_file
from packaging.requirements import InvalidRequirement, Requirement

LOCKS = lab.ROOT / "scripts" / "install" / "locks"
PROJECT = tomllib.loads((lab.ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
DECLARED = {
    "requirements.lock": RUNTIME,
    "requirements-dev.lock": RUNTIME + PROJECT["optional-dependencies"]["dev"],
    "mitmproxy-12.2-dev.lock": RUNTIME + PROJECT["optional-dependencies"]["dev"],
    "build.lock": [],
}


@pytest.fixture(params=DECLARED)
def lock(request: pytest.FixtureRequest) -> Path:
    """Each lock file."""
    return LOCKS / str(request.param)


@pytest.mark.parametrize("python", lock_file.PYTHONS)
def test_every_requirement_has_a_version_in_its_range(lock: Path, python: str) -> None:
    """If this fails, pyproject.toml has changed: run scripts/install/lock.sh."""
    installed = lock_file.installed_by(python, lock_file.read(lock))
    for line in DECLARED[lock.name]:
        wanted = Requirement(line)
        assert wanted.name in installed, line
        assert wanted.specifier.contains(installed[wanted.name]), line


def test_every_pin_is_one_version_with_hashes(lock: Path) -> None:
    """Each Python gets one version of a package, and each version has hashes."""
    pins = lock_file.read(lock)
    assert pins
    for pin in pins:
        assert pin.version, pin
        assert pin.hashes, pin
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", value) for value in pin.hashes), pin
    for python in lock_file.PYTHONS:
        names = [pin.name for pin in pins if pin.is_for(python)]
        assert len(names) == len(set(names))


def test_no_package_index_is_named(lock: Path) -> None:
    """The installing machine decides where packages come from."""
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)


@pytest.mark.parametrize("python", lock_file.PYTHONS)
def test_tests_and_production_install_the_same_versions(python: str) -> None:
    """The developers' lock file only adds packages to the other one."""
    production, development = (
        lock_file.installed_by(python, lock_file.read(LOCKS / name))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert production.items() <= development.items()


def test_this_environment_matches_the_lock() -> None:
    """If this fails, the environment is older than the lock: run scripts/setup.sh --dev."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    older = importlib.metadata.version("mitmproxy").startswith("12.2.")
    lock = LOCKS / ("mitmproxy-12.2-dev.lock" if older else "requirements-dev.lock")
    locked = lock_file.installed_by(python, lock_file.read(lock))
    assert {name: importlib.metadata.version(name) for name in locked} == locked


def test_read(tmp_path: Path) -> None:
    """Comments, markers and several hashes are read."""
    file = tmp_path / "x.lock"
    file.write_text(
        "# made by hand\n"
        "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n"
        "    # via b\n"
        "a==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:2\n"
        "b>=3\n"
    )
    pins = lock_file.read(file)
    assert [(pin.name, pin.version, pin.hashes) for pin in pins] == [
        ("a", "1", ("sha256:0", "sha256:1")),
        ("a", "2", ("sha256:2",)),
        ("b", "", ()),
    ]
    assert lock_file.installed_by("3.11", pins) == {"a": "1", "b": ""}
    assert lock_file.installed_by("3.13", pins) == {"a": "2", "b": ""}


@pytest.mark.parametrize("line", ["--index-url x", "-r other.lock", "./folder"])
def test_read_takes_requirements_only(tmp_path: Path, line: str) -> None:
    """Options and paths are refused, not skipped."""
    file = tmp_path / "x.lock"
    file.write_text(f"a==1 --hash=sha256:0\n{line}\n")
    with pytest.raises(InvalidRequirement):
        lock_file.read(file)
