"""The process around the proxy: its setup, and its messages once it serves."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

from ..internals import still_there, wide_reads
from ..internals.place import Part
from ..observe import banner, log_guard
from ..rules.model import host_listed
from . import listeners, open_files, option_names, sd_notify, term_log
from .rules_in_force import RulesInForce

logger = logging.getLogger(__name__)


class Setup:
    """The first addon: makes the log safe, and sets what has to be set before a listener opens."""

    name = "mlflow-setup"

    def load(self, _: Loader) -> None:
        """Set up the process.

        By default, mitmproxy connects upstream as soon as a client connects. If that fails, the
        client gets an empty reply before any hook runs; so connections wait for a request.
        """
        log_guard.install()
        # mitmdump does not load mitmweb (see `mitmweb.path_column`).
        for part in [part for part in Part if part is not Part.PATHS]:
            if (missing := still_there.warning(part)) is not None:
                logger.warning("%s", missing)
        term_log.install()
        wide_reads.keep_buffers()
        open_files.allow_many()
        # Before the first listener opens; a bare test context has no such option.
        if "connection_strategy" in ctx.options:
            # Setting confdir to its present value makes mitmproxy read its certificates now. It
            # would do so after the listeners open, and a request before that would end it with an
            # error (see the FIXME in mitmproxy/addons/tlsconfig.py, `running`).
            ctx.options.update(connection_strategy="lazy", confdir=ctx.options.confdir)


class TrustedFiles:
    """Checks the certificates for registries, which mitmproxy reads only when it connects."""

    name = "mlflow-trusted-files"

    def __init__(self) -> None:
        self._running = False

    def configure(self, updated: set[str]) -> None:
        """Refuse files without certificates."""
        for name in sorted(updated & {*_TRUSTED}):
            value = getattr(ctx.options, name)
            if value and (problem := _TRUSTED[name](value)):
                option_names.refuse(f"{name}: {value}: {problem}", running=self._running)

    def running(self) -> None:
        """Note that the start is over."""
        self._running = True


def _certificates(path: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "expected certificates (PEM)"
    except OSError as error:
        return error.strerror
    return None


_TRUSTED: Mapping[str, Callable[[str], str | None]] = {
    "ssl_verify_upstream_trusted_ca": _certificates,
    "ssl_verify_upstream_trusted_confdir": lambda path: (
        None if Path(path).is_dir() else "expected a folder"
    ),
}
"""Options of mitmproxy, and functions that return what is wrong with a value."""


class Ready:
    """The last addon: when it runs, the proxy serves.

    Args:
        rules: the rules in force.
    """

    name = "mlflow-ready"

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules

    def load(self, _: Loader) -> None:
        """Check the names and the values of options, now that all of them are known."""
        options = ctx.options
        problems = [
            *option_names.misspelled(options.deferred, options.keys()),
            *option_names.unreadable(options),
        ]
        for problem in problems:
            option_names.refuse(problem, running=False)
        self._rules.start_fails = bool(problems)

    def running(self) -> None:
        """Warn about settings that are probably mistakes; notify systemd; show the banner."""
        open_to = listeners.beyond_this_machine()
        if open_to and self._rules.settings and not self._rules.get().rules.allowed_hosts:
            logger.warning(
                "listening on %s without allowed_hosts in the rules: every Host is served",
                ", ".join(open_to),
            )
        if (settings := self._rules.settings) is not None:
            served = [mode.address for mode, _ in listeners.in_reverse_mode()]
            served += [own.mount.address for own in settings.own or () if own.mount]
            for entry in settings.rules.upstream.credentials:
                if not any(host_listed(*address, [entry.host]) for address in served):
                    logger.warning(
                        "upstream.credentials: %s: no listener leads there, so nothing gets them",
                        entry.host,
                    )
        sd_notify.send("READY=1")
        banner.show()
