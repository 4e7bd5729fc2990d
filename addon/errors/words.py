"""The words of an error: what a page, an XML error, a text or JSON of any shape says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import islice
from typing import Any

from ..protocol.bodies import capped, codec_of, is_markup

PAGE_LIMIT = 64 * 1024
"""Characters in which we look for a title."""

TOKEN_LIMIT = 2000
"""Tags after which the search for a title stops."""

_MARKUP = re.compile(r"html|xml", re.IGNORECASE)
_TAG = re.compile(r"<(/?[A-Za-z][\w:.-]*|[!?])")
_RAW_END = {tag: re.compile(rf"</{tag}\s*>", re.IGNORECASE) for tag in ("script", "style")}
# No character has a number with that many digits.
_LONG_REFERENCE = re.compile(r"&#[0-9]{10,};?")


def page_words(body: bytes, content_type: str) -> str:
    """Return the message of a page, an XML error or a text: its title, otherwise its first words.

    Args:
        body: decoded, perhaps only its beginning.
        content_type: the Content-Type header, "" if there is none.
    """
    text = body.decode(codec_of(content_type) or "utf-8", "replace")[:PAGE_LIMIT]
    if is_markup(body) or _MARKUP.search(content_type):
        text = _markup_words(text)
    return capped(text)


def json_words(content: Any) -> str:
    """Return the message of a JSON error of any shape: the text under its best known key."""
    text = _said(content, 4)
    if not text and content not in ({}, [], None, ""):
        text = json.dumps(content, ensure_ascii=False)
    return capped(text)


def _said(content: Any, depth: int) -> str:
    if isinstance(content, str):
        return content
    if depth and isinstance(content, list):
        return "; ".join(filter(None, (_said(item, depth - 1) for item in content[:3])))
    if not depth or not isinstance(content, dict):
        return ""
    said = {key.lower(): text for key in content if (text := _said(content[key], depth - 1))}
    if "title" in said and "detail" in said:  # RFC 9457, section 3.1
        return f"{said['title']}: {said['detail']}"
    if "loc" in said and "msg" in said:  # FastAPI's list of invalid parameters
        return f"{said['loc'].replace('; ', '.')}: {said['msg']}"
    return next((said[key] for key in _TELLING if key in said), "")


# FastAPI, RFC 9457, OAuth (RFC 6749, section 5.2), JSON:API, GraphQL, AWS, Apigee, Kubernetes.
_TELLING = (
    *("message", "detail", "error_description", "msg", "title", "error", "errors"),
    *("reason", "description", "faultstring", "fault", "status"),
)


def _markup_words(text: str) -> str:
    said = {"title": "", "code": "", "message": "", "": ""}
    root, inside = "", ""
    for tag, data in islice(_tokens(text), TOKEN_LIMIT):
        root = root or tag.strip("!?")
        if tag in said:
            # Only the first title counts; later ones belong to drawings.
            inside = "" if tag == "title" and said["title"] else tag
        elif tag == f"/{inside}":
            inside = ""
        said[inside] += data
        if inside in ("code", "message"):
            said[""] += data
        said[""] += " "
    if root in ("error", "errorresponse"):
        # Object stores: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        fields = ": ".join(filter(None, (said["code"].strip(), said["message"].strip())))
        return _unescaped(fields or said[""])
    return _unescaped(said["title"]).strip() or _unescaped(said[""])


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Split markup into pairs of a tag's name ("/name" for an end tag) and the text after it.

    Each character is read once. Python's html.parser takes a minute for 64 KiB of "<a <a", and the
    proxy would serve nothing else in that time.
    """
    tag, begin = "", 0
    while (at := text.find("<", begin)) >= 0:
        if at > begin or tag:
            yield tag, text[begin:at]
        tag = ""
        if text.startswith("<!--", at):
            end = text.find("-->", at) + 2
        elif text.startswith("<![CDATA[", at):
            end = text.find("]]>", at) + 2
            yield "", text[at + 9 : max(end - 2, 0)]
        elif match := _TAG.match(text, at):
            end = text.find(">", at)
            tag = match[1].lower()
            if tag in _RAW_END:
                close = _RAW_END[tag].search(text, at)
                end = close.end() - 1 if close else -1
        else:
            end = at  # Not a tag.
            yield "", "<"
        if end < at:
            return  # Cut, or never closed.
        begin = end + 1
    yield tag, text[begin:]


def _unescaped(text: str) -> str:
    """Decode character references; Python raises for one with thousands of digits."""
    return unescape(_LONG_REFERENCE.sub("\ufffd", text))
