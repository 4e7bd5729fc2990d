"""The rules in force: read at start, and again when the file or an option changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from ..routing import gate, settings
from ..routing.settings import Settings
from ..rules import files, reload
from ..rules.last_read import LastRead, Reading
from ..rules.rules_file import DEFAULT_PATH, RulesError
from . import bypasses

logger = logging.getLogger(__name__)

CURRENT = "current"
"""The state of the rules in /readyz if they are those of the file."""

_OPTIONS = {"mlflow_rules", gate.OPTION, settings.BASE_PATH}

STALE = "stale: the last change was refused, see the log"
"""The state after a failed reload."""


class RulesInForce:
    """The addon with the options for what the rules decide."""

    name = "mlflow-rules"

    def __init__(self) -> None:
        self.settings: Settings | None = None
        """For new flows; None while no rules are loaded."""
        self.start_fails = False
        """Whether mitmproxy is about to end; no rules come into force, so no client is served."""
        self.state = CURRENT
        """Whether they are those of the file, for people."""
        self.keeps_host = False
        """mitmproxy's option keep_host_header."""
        self.read_at = 0.0
        """When they were read, in seconds since 1970."""
        self.reloads = {"success": 0, "failure": 0}
        self.followers: list[Callable[[Settings], None]] = []
        """Called with each new settings that come into force."""
        self._last_read: LastRead | None = None
        """None until SIGHUP makes us read the rules."""
        self._signature: files.Signature = None
        self._watch: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._one_by_one = asyncio.Lock()
        """Or an earlier reading could end after a later one, and put older rules in force."""

    def get(self) -> Settings:
        """Return the settings for new flows.

        Raises:
            RuntimeError: no rules are loaded.
        """
        if self.settings is None:
            raise RuntimeError("no rules are loaded")
        return self.settings

    def load(self, loader: Loader) -> None:
        """Register the options."""
        loader.add_option(
            "mlflow_rules", str, str(DEFAULT_PATH), "Path of the rules file of the MLflow proxy."
        )
        loader.add_option(
            gate.OPTION,
            str,
            "",
            "Serve artifacts (true or false). Overrides the environment variable "
            "MLFLOW_SERVE_ARTIFACTS and the rules; empty: they decide.",
        )
        loader.add_option(
            settings.BASE_PATH,
            str,
            "",
            "Path below which the registry serves. Overrides upstream.base_path of the rules; "
            "empty: they decide.",
        )

    def configure(self, updated: set[str]) -> None:
        """Read the rules if an option for them has changed; check the others."""
        if self.start_fails:
            return
        if "keep_host_header" in updated:
            self.keeps_host = ctx.options.keep_host_header
        try:
            if updated & _OPTIONS:
                self._signature = files.signature(_path())
                self._put_in_force(settings.read(*_sources()))
            elif updated & bypasses.OPTIONS and self.settings is not None:
                bypasses.check(self.settings, _options())
        except RulesError as error:
            if self.settings is not None:
                raise exceptions.OptionsError(str(error)) from None  # The old values stay.
            # At start a logged error ends mitmproxy with exit code 1, without a traceback.
            # Until then no client is served, see `Clients`.
            logger.error("%s", error)

    def running(self) -> None:
        """Watch the file, and SIGHUP."""
        self._watch = asyncio.create_task(reload.watch(_path, self._signature, self._reload))
        if reload.on_sighup(self._reload_soon):
            self._last_read = LastRead()
            self._show(time.monotonic(), None)

    def done(self) -> None:
        """Stop watching."""
        if self._last_read is not None:
            self._last_read.close()
            self._last_read = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def reload_now(self) -> None:
        """Reload the rules synchronously, for a caller that waits for the result.

        Raises:
            RulesError: the rules have a mistake.
        """
        with self._noting_reload():
            self._put_in_force(settings.read(*_sources()))

    def _reload_soon(self) -> None:
        self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        """Read the rules again; those in force stay if that fails."""
        try:
            async with self._one_by_one:
                with self._noting_reload():
                    self._put_in_force(await asyncio.to_thread(settings.read, *_sources()))
        except RulesError as error:
            logger.error("the old rules stay in force: %s", error)
        except Exception:
            logger.exception("the old rules stay in force")
        else:
            logger.warning("the rules were read again: %s", _path())

    @contextlib.contextmanager
    def _noting_reload(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            self.reloads["failure"] += 1
            self.state = STALE
            expected = isinstance(error, RulesError)
            self._show(began, str(error) if expected else "an internal error, see the proxy's log")
            raise
        self.reloads["success"] += 1
        self.state = CURRENT
        self._show(began, None)

    def _show(self, began: float, problem: str | None) -> None:
        if self._last_read is not None:
            self._last_read.put(Reading(began, str(_path()), problem))

    def _put_in_force(self, read: Settings) -> None:
        bypasses.check(read, _options())
        self.settings, self.read_at = read, time.time()
        for follow in self.followers:
            follow(read)


def _options() -> dict[str, Any]:
    """Return the options that `bypasses.check` reads."""
    return {name: getattr(ctx.options, name) for name in bypasses.OPTIONS if name in ctx.options}


def _path() -> Path:
    return Path(ctx.options.mlflow_rules).expanduser()


def _sources() -> tuple[Path, str | None, str, str]:
    """Return the arguments of `settings.read`."""
    environment, options = os.environ.get(gate.ENVIRONMENT), ctx.options
    return _path(), environment, options.mlflow_serve_artifacts, options.mlflow_base_path
