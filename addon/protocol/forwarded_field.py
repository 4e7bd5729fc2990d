"""The field `Forwarded` (RFC 7239): a list of hops; each proxy adds one at the end."""

from __future__ import annotations

import re
from ipaddress import ip_address

# RFC 9110, section 5.6.2, "token"
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")')
_SEPARATOR = re.compile(r"[ \t]*(?:([;,])[ \t]*|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_ZONE = r"(?:%[A-Za-z0-9._~-]{1,16})?"
_PORT = r"(?::(?:\d{1,5}|_[A-Za-z0-9._-]+))?"
_NODE = re.compile(
    rf"\[(?P<bracketed>[0-9A-Fa-f:.]+{_ZONE})\]{_PORT}|(?P<v4>[0-9.]+){_PORT}"
    rf"|(?P<v6>[0-9A-Fa-f:.]+{_ZONE})"
)


def hops(value: str) -> list[dict[str, str]] | None:
    """Read the field: each hop is a dict of parameters by lower-case names.

    Spaces around the semicolons are common, although the grammar does not allow them.

    Returns:
        The hops in the order in which the request took them; None if the field is not valid.
    """
    found: list[dict[str, str]] = []
    hop: dict[str, str] = {}
    at, end = len(value) - len(value.lstrip(" \t")), len(value)
    while at < end:
        if pair := _PAIR.match(value, at):
            name = pair[1].lower()
            if name in hop:
                return None
            hop[name] = pair[2] or _ESCAPE.sub(r"\1", pair[3])
            at = pair.end()
        if (separator := _SEPARATOR.match(value, at)) is None:
            return None
        if separator[1] != ";" and hop:
            found.append(hop)
            hop = {}
        at = separator.end()
    return [*found, hop] if hop else found


def address(node: str) -> str | None:
    """Return the IP address of a node, without brackets and port; None if it has another name.

    Args:
        node: as in `Forwarded` (RFC 7239, section 6, without quotes) or in X-Forwarded-For, where
            an IPv6 address usually has no brackets.
    """
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    text = match["bracketed"] or match["v4"] or match["v6"]
    try:
        ip_address(text)
    except ValueError:
        return None
    return text
