"""An upstream that answers http only with a redirect to its own https.

Such a redirect leads back to the proxy, which uses http again, so the client would follow it for
ever. The fix is to start the proxy with the https URL as its upstream.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from urllib.parse import urlsplit

from .hosts import uri_host

REDIRECTS = frozenset({301, 302, 303, 307, 308})

CODE = "HTTPS_REQUIRED"
"""The error_code."""

STATUS = 501
"""Status of the answer in its place: MLflow's client shows its message at once."""


def secure_url(status: int, location: str, *, url: str, names: Collection[str] = ()) -> str | None:
    """Return the URL, without a path, to use for an upstream; None if it can stay as it is.

    Args:
        status: HTTP status of the answer.
        location: its Location header, "" if there is none.
        url: the URL of the request as it went upstream.
        names: other hosts that the upstream may use for itself, in lower case.
    """
    if status not in REDIRECTS or not location or not url.startswith("http:"):
        return None
    try:
        asked, target = urlsplit(url), urlsplit(location)
        host, port = target.hostname, target.port
    except ValueError:
        return None
    if target.scheme.lower() != "https" or (target.path or "/") != (asked.path or "/"):
        return None
    own = host == asked.hostname
    if not own and host not in names:
        return None
    shown = uri_host(asked.hostname or "")
    return f"https://{shown}{f':{port}' if own and port not in (None, 443) else ''}"


def error(secure: str) -> bytes:
    """Return the error document about this, in MLflow's form.

    Args:
        secure: from `secure_url`.
    """
    message = (
        "The registry answers http only by a redirect to https, which would lead back here. "
        f"This proxy has to be started with {secure} as its upstream."
    )
    return json.dumps({"error_code": CODE, "message": message}).encode("ascii")
