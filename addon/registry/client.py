"""A client for the registry: one request at a time, with the credentials of MLflow's client."""

from __future__ import annotations

import base64
import http.client
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import SplitResult, urlsplit, urlunsplit

from .answers import Answer

BODY_READ = 256 * 1024
"""Bytes of an answer that are read, at most."""

USER_AGENT = "mlflow-proxy-probe"
_NO_HEADER = re.compile(r"[^\x20-\x7e\xa0-\xff]")


@dataclass(frozen=True, slots=True)
class Client:
    """How to reach a registry: URL, credentials and time limit."""

    url: str
    """Base URL (a tracking URI), without credentials."""
    timeout: float
    """Seconds for one request."""
    authorization: str | None = None
    """Value of the Authorization header. Never shown."""
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request."""

    def send(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Answer:
        """Send one request, without following redirects and without retries."""
        parts = urlsplit(self.url)
        headers = {"User-Agent": USER_AGENT, "Connection": "close", **self.headers}
        if self.authorization:
            headers["Authorization"] = self.authorization
        if content_type:
            headers["Content-Type"] = content_type
        kind: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if parts.scheme == "https":
            kind = partial(http.client.HTTPSConnection, context=self.tls)
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            content = response.read(BODY_READ)
            content_type = response.headers.get("Content-Type", "")
            location = response.headers.get("Location", "")
            return Answer(response.status, content_type, content, location)
        except TimeoutError:
            return Answer(None, error=f"no answer within {self.timeout:g} s")
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            return Answer(None, error=_reason(error))
        finally:
            connection.close()


def client_from_environment(
    url: str, timeout: float, environment: Mapping[str, str] = os.environ
) -> Client:
    """Return a client with the credentials and TLS settings that MLflow's own client would use.

    Args:
        url: base URL; user and password in it are used and then removed.
        timeout: seconds for one request.
        environment: see https://mlflow.org/docs/latest/auth/ for the MLFLOW_TRACKING_* names.

    Raises:
        ValueError: the URL is not http or https, or the credentials do not fit into a header. The
            message repeats nothing of either.
        OSError: a certificate file cannot be read.
    """
    parts = _split(url)
    user = parts.username or environment.get("MLFLOW_TRACKING_USERNAME")
    password = parts.password or environment.get("MLFLOW_TRACKING_PASSWORD")
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    authorization = None
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        authorization = f"Basic {pair}"
    elif token:
        authorization = f"Bearer {token}"
        if _NO_HEADER.search(token):
            raise ValueError(
                "MLFLOW_TRACKING_TOKEN: a line break, or another character that fits no header"
            )
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context(
            cafile=environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
        )
        if environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    host = parts.netloc.rpartition("@")[2]
    base = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return Client(base, timeout, authorization, tls)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"no connection: {error.strerror or error or type(error).__name__}"
    # The text of such an error contains bytes from the server.
    return f"no answer: {type(error).__name__}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises ValueError for an invalid port)
    except ValueError:
        # The text of that error repeats part of the URL: the password, if it contains a slash.
        raise ValueError("not a valid URL; is a / or an @ in the password not encoded?") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL that starts with http:// or https://")
    return parts
