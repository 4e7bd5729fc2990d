"""Credentials that the proxy adds for a registry (`upstream.credentials` of the rules).

They are added as a request is written to the registry's connection, and to nothing that other
addons, mitmweb or flow files see. A client's own Authorization header is never replaced.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..protocol.headers import Fields, text
from ..rules import files
from ..rules.model import Credential, Upstream
from .origin import is_foreign

logger = logging.getLogger(__name__)

LARGEST = 16 * 1024
"""Bytes of a secret, at most; servers take no longer headers."""
AGAIN = 1.0
"""Seconds between two looks at a file."""
# TRACE is missing on purpose: a server answers it with the request, credentials included.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# RFC 6750, section 2.1, but for its order.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Credentials:
    """The secrets of the rules, each read again when its file changes.

    Args:
        upstream: the section of the rules.
        environment: variables that may hold secrets.
        clock: seconds that never go back.

    Raises:
        ValueError: a secret is missing or cannot be used. The message names its key path and its
            source, and repeats nothing of it.
    """

    def __init__(
        self,
        upstream: Upstream,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._secrets: dict[Credential, _Secret] = {}
        for index, entry in enumerate(upstream.credentials):
            if entry not in self._secrets:
                try:
                    self._secrets[entry] = _Secret(entry, environment, clock)
                except ValueError as error:
                    key, value = ("file", entry.file) if entry.file else ("env", entry.env)
                    place = f"upstream.credentials[{index}].{key}"
                    raise ValueError(f"{place}: {value!r}: {error}") from None

    def to_add(
        self,
        host: str,
        port: int,
        *,
        method: str,
        fields: Fields,
        authority: str,
        origins: list[str],
    ) -> bytes:
        """Return the value of the Authorization header to add to a request; b"" for none.

        Args:
            host: host name to which the request goes.
            port: TCP port there.
            method: HTTP method.
            fields: the request's headers.
            authority: the host that the client asked for.
            origins: `origins.allowed` of the rules.
        """
        if (entry := self._upstream.credential(host, port)) is None:
            return b""
        if b"authorization" in fields or method not in _METHODS:
            return b""
        # Pages of other sites must not act with them through a user's browser.
        if is_foreign(method, text(fields, b"origin"), authority, origins):
            return b""
        return self._secrets[entry].header()


class _Secret:
    """The value of an Authorization header, from one source."""

    def __init__(
        self, entry: Credential, environment: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._entry = entry
        self._clock = clock
        self._looked = clock()
        self._signature: files.Signature = None
        self._problem = ""
        if entry.file is not None:
            self._signature = files.signature(Path(entry.file))
            self._header = self._from_file(Path(entry.file))
        elif (value := environment.get(entry.env or "")) is None:
            raise ValueError("this environment variable is not set")
        else:
            self._header = _header(value.encode("utf-8", "surrogateescape"), entry)

    def header(self) -> bytes:
        now = self._clock()
        if self._entry.file is not None and now - self._looked >= AGAIN:
            self._looked = now
            self._look(Path(self._entry.file))
        return self._header

    def _look(self, file: Path) -> None:
        """Take up a changed file; the last secret stays in force while the file is of no use."""
        try:
            if (signature := files.signature(file)) != self._signature:
                self._header, self._signature = self._from_file(file), signature
                logger.warning("credentials for %s were read again: %s", self._entry.host, file)
            self._problem = ""
        except ValueError as error:
            if self._problem != (problem := str(error)):
                self._problem = problem
                host = self._entry.host
                logger.error("the old credentials for %s stay: %s: %s", host, file, problem)

    def _from_file(self, path: Path) -> bytes:
        try:
            data = files.read(path, LARGEST + len(b"\r\n"))
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        return _header(data, self._entry)


def _header(secret: bytes, entry: Credential) -> bytes:
    """Return the value of the header for a secret, without the line end of its file."""
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise ValueError("it is empty")
    if len(secret) > LARGEST:
        raise ValueError(f"expected {LARGEST // 1024} KiB at most")
    if entry.scheme == "bearer":
        if not _TOKEN.fullmatch(secret):
            raise ValueError("expected one token, without spaces, line breaks and the word Bearer")
        return b"Bearer " + secret
    if _CONTROL.search(secret) or b":" not in secret:
        raise ValueError("expected USER:PASSWORD in one line")
    return b"Basic " + base64.b64encode(secret)
