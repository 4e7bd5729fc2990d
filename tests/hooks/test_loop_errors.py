"""Errors of the event loop itself."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from addon.hooks import loop_errors


def test_only_failed_accepts_are_held_back(caplog: pytest.LogCaptureFixture) -> None:
    """Accepts that fail repeatedly give one line. Other errors, and all after the end, pass on."""
    others: list[Any] = []
    no_file = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    full = {"message": loop_errors.NO_RESOURCE, "exception": no_file}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: others.append(context["message"]))
        guard = loop_errors.LoopErrors()
        guard.running()
        for context in (full, {"message": "else"}, full):
            loop.call_exception_handler(context)
        guard.done()
        loop.call_exception_handler(full)

    asyncio.run(main())
    assert others == ["else", loop_errors.NO_RESOURCE]
    assert caplog.messages == ["clients cannot be accepted and have to wait: Too many open files"]
