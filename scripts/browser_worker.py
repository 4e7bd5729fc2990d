"""Drives a headless Chromium by commands on stdin, in an environment with Playwright.

It reads [name of a call, arguments...] as JSON, one per line, and answers each with one line of
JSON: ["ok", result] or ["error", message]. The first argument on the command line is the path of
the browser.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image
from playwright.sync_api import Page, Request, Response, sync_playwright

ARGUMENTS = [
    # Chromium's sandbox does not work for root, and all pages are from our own servers.
    "--no-sandbox",
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
problems: list[str] = []


def watch(page: Page) -> None:
    """Record failures in the network and errors in the console."""

    def answered(response: Response) -> None:
        if response.status >= 400:
            problems.append(f"{response.status} {response.request.method} {response.url}")

    def failed(request: Request) -> None:
        # ERR_ABORTED: the page itself cancels a request when it navigates.
        if request.failure != "net::ERR_ABORTED":
            problems.append(f"{request.failure} {request.method} {request.url}")

    page.on("response", answered)
    page.on("requestfailed", failed)
    page.on("pageerror", lambda error: problems.append(f"page: {error}"))
    page.on(
        "console",
        lambda message: (
            problems.append(f"console: {message.text}")
            # Errors of ResizeObserver depend on the speed of the machine.
            if message.type == "error" and "ResizeObserver" not in message.text
            else None
        ),
    )


def picture(page: Page, path: str) -> None:
    """Save the visible part of a page, with fewer colours: a third of the size."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(192).save(path, optimize=True)


def drained(page: Page, notes: list[str]) -> list[str]:
    """Return all notes so far, and clear them."""
    page.wait_for_timeout(300)  # Playwright delivers pending events only during a call.
    taken = [*notes]
    notes.clear()
    return taken


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=ARGUMENTS)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(30_000)
    watch(page)
    calls: dict[str, Callable[..., Any]] = {
        "open": lambda url: page.goto(url) and None,
        "click": lambda selector: page.locator(selector).first.click(),
        "fill": lambda selector, text: page.locator(selector).first.fill(text),
        "wait": lambda selector: page.locator(selector).first.wait_for(),
        "count": lambda selector: page.locator(selector).count(),
        "text": lambda selector: page.locator(selector).first.inner_text(),
        "scroll": lambda selector: page.locator(selector).first.evaluate("e => e.scrollIntoView()"),
        "screenshot": lambda path: picture(page, path),
        "problems": lambda: drained(page, problems),
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = ["ok", calls[name](*arguments)]
        except Exception as error:
            answer = ["error", str(error)]
        print(json.dumps(answer), flush=True)
    browser.close()
