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
    """A call of the browser failed."""


class Browser:
    """One page in its own browser, to be used as a context manager.

    Selectors are Playwright's; each call waits up to 30 seconds for its element.
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
        """Click on the first matching element."""
        self._call("click", selector)

    def fill(self, selector: str, text: str) -> None:
        """Put text into a field."""
        self._call("fill", selector, text)

    def wait(self, selector: str) -> None:
        """Wait until a matching element is visible."""
        self._call("wait", selector)

    def count(self, selector: str) -> int:
        """Return the number of matching elements."""
        return int(self._call("count", selector))

    def text(self, selector: str) -> str:
        """Return the text of the first matching element."""
        return str(self._call("text", selector))

    def scroll(self, selector: str) -> None:
        """Scroll until the first matching element is at the top."""
        self._call("scroll", selector)

    def screenshot(self, path: Path) -> None:
        """Save the visible part of the page as PNG."""
        self._call("screenshot", str(path))

    def problems(self) -> list[str]:
        """Return answers >= 400, failed requests and console errors since the last call."""
        return list(self._call("problems"))
