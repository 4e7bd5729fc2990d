"""A real headless Chromium, for the tests and the screenshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from install import programs
from playwright.sync_api import ConsoleMessage, Page, Request, Response, sync_playwright

_ARGUMENTS = [
    # Chromium's sandbox does not work for root, and all pages are from our own servers.
    "--no-sandbox",
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@contextmanager
def opened() -> Iterator[Page]:
    """Start a browser of its own, with one page; close it at the end.

    The browser itself is the system's or Debian's (see install/server.sh), not one of Playwright's
    downloads.
    """
    chromium = shutil.which("chromium") or programs.binary("chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


@contextmanager
def problems(page: Page) -> Iterator[list[str]]:
    """Note answers >= 400, failed requests and errors of a page until the end of the block."""
    notes: list[str] = []

    def answered(response: Response) -> None:
        if response.status >= 400:
            notes.append(f"{response.status} {response.request.method} {response.url}")

    def failed(request: Request) -> None:
        # ERR_ABORTED: the page itself cancels a request when it navigates.
        if request.failure != "net::ERR_ABORTED":
            notes.append(f"{request.failure} {request.method} {request.url}")

    def told(message: ConsoleMessage) -> None:
        # Errors of ResizeObserver depend on the speed of the machine.
        if message.type == "error" and "ResizeObserver" not in message.text:
            notes.append(f"console: {message.text}")

    page.on("response", answered)
    page.on("requestfailed", failed)
    page.on("console", told)
    page.on("pageerror", lambda error: notes.append(f"page: {error}"))
    yield notes
    page.wait_for_timeout(300)  # Playwright delivers pending events only during a call.
