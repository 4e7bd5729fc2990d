"""A real headless Chromium, for the tests and the screenshots."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import stack

_WORKER = stack.ROOT / "scripts" / "browser_worker.py"


class BrowserError(RuntimeError):
    """What the browser was told to do did not work."""


class Browser:
    """One page in a browser of its own, while it is used as a context manager.

    Selectors are those of Playwright; each call waits up to 30 seconds for what it needs.
    """

    def __enter__(self) -> Self:
        found = shutil.which("chromium")
        chromium = Path(found) if found else stack.binary("chromium-headless-shell")
        python = stack.installed("setup-browser.sh", "playwright") / "bin" / "python"
        self._process = subprocess.Popen(
            [python, _WORKER, chromium],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _call(self, *call: str) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BrowserError("the browser has ended")
        state, value = json.loads(answer)
        if state != "ok":
            raise BrowserError(f"{call}: {value}")
        return value

    def open(self, url: str) -> None:
        """Go to a page."""
        self._call("open", url)

    def click(self, selector: str) -> None:
        """Click on the first such element."""
        self._call("click", selector)

    def fill(self, selector: str, text: str) -> None:
        """Put text into a field."""
        self._call("fill", selector, text)

    def wait(self, selector: str) -> None:
        """Wait until such an element is visible."""
        self._call("wait", selector)

    def count(self, selector: str) -> int:
        """How many such elements there are."""
        return int(self._call("count", selector))

    def text(self, selector: str) -> str:
        """The text of the first such element."""
        return str(self._call("text", selector))

    def scroll(self, selector: str) -> None:
        """Scroll until the first such element is at the top."""
        self._call("scroll", selector)

    def screenshot(self, path: Path) -> None:
        """Save what is visible as PNG."""
        self._call("screenshot", str(path))

    def problems(self) -> list[str]:
        """Answers >= 400, failed requests and errors of the console since the last call."""
        return list(self._call("problems"))
