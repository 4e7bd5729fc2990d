"""`files`: all that an operator needs, and nothing of theirs overwritten."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.dockerfile import instructions

from addon.cli import files
from addon.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]


def of_git(folder: str) -> set[str]:
    """Return the files of a folder but for its pages."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder, ":!*.md"]
    run = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in run.stdout.splitlines() if (ROOT / name).exists()}


def written(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with all files."""
    assert cli.main(["files", str(tmp_path / "new" / "deploy")]) == 0
    *said, last = capsys.readouterr().out.splitlines()
    listed = [path for path in files.contents() if not path.startswith("image/addon/")]
    assert said == [str(tmp_path / "new" / "deploy" / path) for path in listed]
    assert re.fullmatch(r".*/new/deploy/image/addon \(\d+ files\)", last)
    return tmp_path / "new" / "deploy"


def test_nothing_is_missing(folder: Path) -> None:
    """A checkout's files for operators are there, in the same folders."""
    found = written(folder)
    for name in of_git("scripts/deploy"):
        path = name.removeprefix("scripts/deploy/")
        if path.startswith("Dockerfile"):
            path = f"image/{path}"
        elif path.startswith("image/"):
            path = f"image/{name}"
        assert path == files.UNIT or found[path] == (ROOT / name).read_bytes()


def test_the_image_can_be_built(folder: Path) -> None:
    """Each file that the Dockerfile copies is there, and the whole addon."""
    found = written(folder / "image")
    copied = []
    for name, arguments in instructions(found["Dockerfile"].decode()):
        if name == "COPY" and not arguments.startswith("--from"):
            copied += arguments.split()[:-1]
    assert len(copied) == 5
    for path in copied:
        assert (folder / "image" / path).exists(), path
    assert {path for path in found if path.startswith("addon/")} == of_git("addon")
    for path in found:
        if not path.startswith("Dockerfile"):
            assert found[path] == (ROOT / path).read_bytes()


def test_files_that_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named and stay, and so does all else; --force replaces them."""
    before = written(folder)
    changed, missing = folder / "haproxy" / "haproxy.cfg", folder / "prometheus" / "alerts.yml"
    changed.write_text("mine")
    missing.unlink()
    assert cli.main(["files", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (f"files: {changed}: differs; --force replaces it\nfiles: nothing was written\n")
    assert (changed.read_text(), missing.exists()) == ("mine", False)
    assert cli.main(["files", str(folder), "--force"]) == 0
    assert written(folder) == before
    lines = capsys.readouterr().out.splitlines()
    new = {line for line in lines[:-1] if not line.endswith(" (unchanged)")}
    assert new == {str(changed), str(missing)}


def test_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's reason is given in one line."""
    (tmp_path / "file").touch()
    assert cli.main(["files", str(tmp_path / "file")]) == 1
    assert re.fullmatch(r"files: .*: '.*/file.*'\n", capsys.readouterr().err)


def test_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The unit hides home directories, so an installation in one is reported."""
    for homes, said in (((str(ROOT),), True), ((), False)):
        monkeypatch.setattr(files, "_HOMES", homes)
        assert cli.main(["files", str(tmp_path)]) == 0
        assert ("services do not see" in capfd.readouterr().err) is said


UNIT = (ROOT / "scripts" / "deploy" / files.UNIT).read_text()


def test_the_unit_of_the_checkout() -> None:
    """A checkout in /opt, with its environment inside, needs no change."""
    place = Path("/opt/mlflow-proxy")
    assert files.unit(UNIT, place / ".venv" / "bin", place / "addon") == UNIT


def test_the_unit_of_a_package() -> None:
    """Only paths of the installation are left."""
    packages = "/srv/mlflow/lib/python3.13/site-packages"
    text = files.unit(UNIT, Path("/srv/mlflow/bin"), Path(f"{packages}/mlflow_proxy"))
    assert "/opt/" not in text
    assert f"\nWorkingDirectory={packages}\n" in text
    assert "\nExecStart=/srv/mlflow/bin/python -m mlflow_proxy.cli.service " in text
    reload = "\nExecReload=+/srv/mlflow/bin/python -m mlflow_proxy.cli reload $MAINPID\n"
    assert reload in text


@pytest.mark.parametrize("folder", ["/opt/my proxy", "/opt/100%", '/opt/a"b', "/opt/$HOME"])
def test_a_path_that_means_something_else(folder: str) -> None:
    """A path that systemd would take apart or expand is refused."""
    with pytest.raises(ValueError, match="expected a path without"):
        files.unit(UNIT, Path(folder, "bin"), Path(sys.prefix))
