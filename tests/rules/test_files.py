"""How files are read, and how changes are detected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from addon.rules import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files "a" and "b"."""
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("fresh")
    return tmp_path


def test_signature(folder: Path) -> None:
    """A change in place, a file renamed over it and a new target of a link all change it."""
    link = folder / "link"
    link.symlink_to("a")
    found = {files.signature(link)}
    (folder / "a").write_text("other")
    os.utime(folder / "a", ns=(1, 2))
    found.add(files.signature(link))
    os.utime(folder / "a", ns=(1, 3))
    found.add(files.signature(link))
    link.unlink()
    link.symlink_to("b")
    os.utime(folder / "b", ns=(1, 3))
    found.add(files.signature(link))
    assert len(found) == 4
    assert files.signature(link) == files.signature(link) != files.signature(folder / "b")


@pytest.mark.parametrize("name", ["none", "a/below a file", "zero\0byte"])
def test_no_file(folder: Path, name: str) -> None:
    """A missing file is not an error; it may appear later."""
    assert files.signature(folder / name) is None


def test_size_limit(folder: Path) -> None:
    """A larger file is refused."""
    assert files.read(folder / "a", 3) == b"one"
    with pytest.raises(ValueError, match="expected 0 KiB at most"):
        files.read(folder / "a", 2)


def test_only_regular_files(folder: Path) -> None:
    """A folder and a pipe are refused, without waiting for the pipe's writer."""
    os.mkfifo(folder / "pipe")
    for place in (folder, folder / "pipe"):
        with pytest.raises(ValueError, match="expected a regular file"):
            files.read(place, 100)
