"""Login pages that an identity provider sends in place of an answer of the API.

The client treats a page with status 200 as success and complains that it is not JSON; it does the
same with the provider's page after a redirect. Both become an error that says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urljoin, urlsplit

from ..protocol import bodies
from ..protocol.target import fold, shown
from ..rules.model import Login
from .upstream import ADDED_REFUSED, Answer, Converted
from .words import page_words

ADVICE = (
    "Check the credentials of the client (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD)."
)

STORE_ADVICE = "If files are kept there, the place belongs in errors.login.stores of the proxy."

_PLACE_LIMIT = 200
_ASCII = "".join(map(chr, range(128)))
# Parameters in URLs that object stores have signed: S3, Google, Alibaba, Tencent, Swift, Azure;
# then older ones of S3 and Google, and CloudFront's. Signature alone is not enough: SAML has it.
_SIGNATURES: tuple[frozenset[str], ...] = (
    frozenset({"x-amz-signature"}),
    frozenset({"x-goog-signature"}),
    frozenset({"x-oss-signature"}),
    frozenset({"q-signature"}),
    frozenset({"temp_url_sig"}),
    frozenset({"sig", "sv"}),
    frozenset({"signature", "expires"}),
    frozenset({"signature", "policy", "key-pair-id"}),
)
# The path of a file in the queries of MLflow's routes.
_FILE_PARAMETERS = ("path", "artifact_file_path")
_HTML_NAMES = frozenset({"", ".html", ".htm", ".xhtml", ".shtml", ".xml", ".svg"})


def asks_for_pages(accept: str) -> bool:
    """Return whether the Accept header is from a browser that navigates and may want a page."""
    return "text/html" in accept or "application/xhtml+xml" in accept


@lru_cache(64)
def is_html_or_unknown(content_type: str) -> bool:
    """Return whether a body may be a page by its Content-Type."""
    return not content_type or bodies.is_html(content_type)


def may_be_page(
    *,
    status: int,
    content_type: str,
    disposition: str,
    accept: str,
    file: bool,
    path: str,
    query: str,
) -> bool:
    """Return whether the body of a success may be an unwanted page, from its head alone.

    Args:
        status: HTTP status.
        content_type: the Content-Type header, "" if there is none.
        disposition: the Content-Disposition header; MLflow sends one with every artifact.
        accept: the Accept header of the request.
        file: whether the request is for an artifact's bytes, which may be HTML.
        path: the path of the request, decoded.
        query: its query.
    """
    if not 200 <= status < 300 or not is_html_or_unknown(content_type):
        return False
    if asks_for_pages(accept):
        return False
    if not file:
        return True
    if disposition or not content_type:
        return False
    return PurePosixPath(_file(path, query)).suffix.lower() not in _HTML_NAMES


def is_no_page(content_type: str, encoding: str, begin: bytes) -> bool | None:
    """Return whether the body of such an answer is not a page; None while that is not clear.

    Args:
        content_type: the header.
        encoding: the Content-Encoding.
        begin: the beginning of the body.
    """
    decoded = bodies.decode(begin, encoding)
    if _is_markup(decoded, content_type):
        return False
    return True if decoded is None or decoded.content.strip() else None


def redirect_place(
    location: str,
    *,
    url: str,
    base_path: str,
    stays: Callable[[str], bool],
    file: bool,
    rules: Login,
) -> str | None:
    """Return the place of the login page that an answer redirects to; None if it does not.

    A redirect that stays on the API passes: to the same path elsewhere, or to another route. The
    redirect of a file passes if it looks like an object store: its URL is signed, or ends in the
    file's name. Otherwise the client would store the login page as the file.

    Args:
        location: the Location header.
        url: the URL of the request as it went upstream.
        base_path: the prefix of every path of the upstream.
        stays: returns whether a path (decoded, below the base path) is a path of the API, or for a
            file, whether it is a path with files.
        file: whether the request is for an artifact's bytes, which may be HTML.
        rules: the exceptions, for stores and for login pages.
    """
    try:
        # As a client does: URLs are ASCII, and Python takes seconds for some hosts that are not.
        target = urljoin(url, quote(location, safe=_ASCII, errors="surrogateescape"))
        parts = urlsplit(target)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None  # Not a URL, so not a page.
    if any(pattern.search(target) for pattern in rules.stores):
        return None
    sent, path = urlsplit(url), fold(unquote(parts.path)).path
    asked = fold(unquote(sent.path)).path.removeprefix(base_path)
    same = asked != "/" and path.endswith(asked)
    if same and host == sent.hostname:
        return None
    if not any(pattern.search(target) for pattern in rules.redirects):
        if same or stays(path.removeprefix(base_path)):
            return None
        if file and (_is_signed(parts.query) or _ends_in(path, _file(asked, sent.query))):
            return None
    return bodies.capped(f"{parts.scheme}://{host}{port}{shown(parts.path)}", _PLACE_LIMIT)


def convert_redirect(
    status: int, place: str, rules: Login, *, file: bool, added: bool = False
) -> Converted:
    """Return the answer for the client in place of a redirect to a login page.

    Args:
        status: HTTP status of the redirect.
        place: from `redirect_place`.
        rules: status and error_code.
        file: as for `redirect_place`.
        added: whether the proxy added its own credentials.
    """
    advice = ADDED_REFUSED if added else ADVICE
    advice = f"{advice} {STORE_ADVICE}" if file else advice
    return _error(f"The server asks for a login at {place} (it answered {status}). {advice}", rules)


def convert_page(
    answer: Answer, path: str, rules: Login, *, added: bool = False
) -> Converted | None:
    """Return the answer for the client in place of a success with a page; None if it is not one.

    Args:
        answer: the answer.
        path: of the request as the client sent it, without the query.
        rules: status and error_code.
        added: as for `convert_redirect`.
    """
    decoded = bodies.decode(answer.body, answer.encoding)
    if not _is_markup(decoded, answer.content_type):
        return None
    where = bodies.capped(bodies.printable(path), _PLACE_LIMIT)
    title = page_words(decoded.content, answer.content_type) if decoded else ""
    what = f"a web page ({title})" if title else "a web page"
    return _error(
        f"The server answered {answer.status} with {what} in place of JSON, probably to ask "
        f"for a login, at {where}. {ADDED_REFUSED if added else ADVICE}",
        rules,
    )


def _file(path: str, query: str) -> str:
    """Return the path of the file that a request is for."""
    named = parse_qs(query.removeprefix("?"))
    return next((named[name][0] for name in _FILE_PARAMETERS if name in named), path)


def _is_signed(query: str) -> bool:
    names = {name.lower() for name, _ in parse_qsl(query)}
    return any(signature <= names for signature in _SIGNATURES)


def _ends_in(path: str, file: str) -> bool:
    """Return whether the last segment of a path is a file's name."""
    name = fold(file).path.rpartition("/")[2]
    return name != "" and path.rpartition("/")[2] == name


def _is_markup(decoded: bodies.Decoded | None, content_type: str) -> bool:
    # If it cannot be decoded, its Content-Type decides.
    return bodies.is_html(content_type) if decoded is None else bodies.is_markup(decoded.content)


def _error(message: str, rules: Login) -> Converted:
    body = json.dumps({"error_code": rules.error_code, "message": message}).encode("ascii")
    return Converted(rules.status, body)
