"""The type of a body and its text, from its headers and its bytes."""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass
from encodings.aliases import aliases
from functools import lru_cache
from typing import Any

HELD_LIMIT = 256 * 1024
"""Bytes of an error or a page that are held so that it can be read."""

DECODED_LIMIT = 4 * HELD_LIMIT
"""Bytes to which a compressed body may grow when it is decoded."""

WORDS_LIMIT = 300
"""Characters of an upstream's message that are passed on."""

CODECS = frozenset(
    (
        *("ascii", "utf_8", "utf_8_sig", "utf_16", "utf_16_le", "utf_16_be"),
        *("utf_32", "utf_32_le", "utf_32_be", "latin_1", "mac_roman", "koi8_r", "koi8_u"),
        *(f"iso8859_{part}" for part in range(1, 17) if part != 12),
        *(f"cp{page}" for page in (437, 850, 852, 855, 866, 874, *range(1250, 1259))),
        *("big5", "big5hkscs", "cp950", "gb2312", "gbk", "gb18030", "tis_620"),
        *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949", "iso2022_kr"),
    )
)
"""Python's names of the character sets that are decoded.

Python has more, but some of them take minutes for a kilobyte (punycode), and it remembers each
unknown name.
"""

_JSON = re.compile(r"application/(?:[^;\s]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_HTML = re.compile(r"(?:text/html|application/xhtml\+xml)\s*(?:;|$)", re.IGNORECASE)
# Formats with their own errors, which their clients read: OTLP, gRPC, server-sent events.
_NOT_OURS = re.compile(r"application/(?:x-protobuf|protobuf|grpc)|text/event-stream", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_PORTION = 1024
_CHARSETS = {codec: codec for codec in CODECS} | {
    name: codec for name, codec in aliases.items() if codec in CODECS
}


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is JSON or a format built on it (RFC 6839)."""
    return _JSON.match(content_type) is not None


@lru_cache(64)
def is_html(content_type: str) -> bool:
    """Return whether a Content-Type is that of a web page."""
    return _HTML.match(content_type) is not None


def has_own_errors(content_type: str) -> bool:
    """Return whether a Content-Type is a format whose errors are not MLflow's JSON."""
    return _NOT_OURS.match(content_type) is not None


def is_event_stream(content_type: str) -> bool:
    """Return whether a Content-Type is server-sent events, which may be silent for a long time."""
    return content_type.lower().startswith("text/event-stream")


def is_markup(body: bytes) -> bool:
    """Return whether a decoded body is HTML or XML. MLflow labels plain text as HTML, too."""
    return body.removeprefix(_BOM).lstrip().startswith(b"<")


def printable(text: str) -> str:
    """Return text without control characters; broken UTF-8 becomes replacement characters."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROL.sub("?", shown)


def capped(text: str, limit: int = WORDS_LIMIT) -> str:
    """Return text in one line, without control characters, of at most `limit` characters."""
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A body without its Content-Encoding."""

    content: bytes
    whole: bool
    """Whether its end was reached: it was not cut, and did not grow beyond `DECODED_LIMIT`."""


def decode(body: bytes, encoding: str) -> Decoded | None:
    """Decode gzip and deflate as far as the bytes go; return None if we cannot read them.

    Args:
        body: as received, perhaps only its beginning.
        encoding: the Content-Encoding header, "" if there is none.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return Decoded(body, True)
        case "gzip" | "x-gzip" | "deflate":
            for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
                try:
                    return _inflate(body, wbits)
                except zlib.error:
                    continue
    return None


def _inflate(body: bytes, wbits: int) -> Decoded:
    """Decompress all members of a gzip file (RFC 1952, section 2.2), or the one deflate stream.

    Clients ignore bytes after the last member. zlib copies the bytes that it has not read, so it
    gets small portions: the work must not grow with the square of the number of members.
    """
    content, at, whole = bytearray(), 0, not body
    while at < len(body):
        begin, stream = at, zlib.decompressobj(wbits)
        try:
            while at < len(body) and not stream.eof and len(content) < DECODED_LIMIT:
                part = body[at : at + _PORTION]
                content += stream.decompress(part, DECODED_LIMIT - len(content))
                at += len(part) - len(stream.unused_data)
        except zlib.error:
            if begin == 0:
                raise
            break
        whole = stream.eof
        if not whole or not _GZIP.startswith(body[at : at + 2]):
            break
    return Decoded(bytes(content), whole)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document."""

    content: Any
    plain: bool
    """Whether a client that decodes the body by its Content-Type can parse it."""


def document(body: bytes, content_type: str) -> Document | None:
    """Parse a decoded body as JSON; return None if it is not JSON.

    Python's parser accepts more than JSON (NaN, and numbers too large for a float). We could not
    write such a document back, so it counts as text.
    """
    codec = codec_of(content_type)
    for plain in (True, False) if codec else (False,):
        try:
            # Not plain: a byte order mark, or UTF-16. It is JSON, but clients cannot read it.
            text = body.decode(codec) if codec and plain else body
            content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
            json.dumps([[[content]]])  # One level less may be too deep to be written back.
        except (ValueError, RecursionError):
            continue
        return Document(content, plain)
    return None


def codec_of(content_type: str) -> str | None:
    """Return the codec for a Content-Type: UTF-8 without a charset, None for an unknown one."""
    match = _CHARSET.search(content_type)
    return _CHARSETS.get(re.sub("[-.:]", "_", match[1].lower())) if match else "utf-8"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError("a number that no float can hold")
    return value
