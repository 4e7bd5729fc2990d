"""Work on a peer's data grows linearly with its size, and never raises.

If it grew with the square, a client or a registry could block the proxy, which has only one
thread, for minutes with a few kilobytes.
"""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import time
import urllib.parse
import zlib
from collections.abc import Callable

import pytest

from addon.engine import heads
from addon.engine.readers import BrokenError
from addon.errors import login, replies
from addon.errors import upstream as errors
from addon.errors.words import page_words
from addon.mitmweb import mlflow_text
from addon.observe import access_log, log_guard
from addon.protocol import (
    bodies,
    framing,
    headers,
    hop_by_hop,
    hosts,
    request_ids,
    target,
    to_https,
)
from addon.registry import answers, dialect
from addon.routing import (
    forwarded,
    gate,
    origin,
    places,
    rewrite,
    routes,
)
from addon.rules import rules_file

RULES = rules_file.load(rules_file.DEFAULT_PATH)
ASKED = errors.Asked("GET", "/api/2.0/mlflow/x", ["/api/2.0/mlflow/x"])
HOSTS = [hosts.pattern("*.example.org"), hosts.pattern("10.0.0.0/8")]
NETWORK = ipaddress.ip_network("10.0.0.0/8")
ROUTER = routes.Router(RULES, artifacts_off=True)
OURS = [rewrite.Origin("http", "registry.example", 80)]
# Normalization (Unicode form KC) must reorder these; Python needs quadratic time for that.
MARKS = "\u0315\u0300"

Work = Callable[[int], Callable[[], object]]
"""Returns the work on data of a given size."""

SIZE = 16_000


def error(make: Callable[[int], bytes], kind: str = "text/html", coding: str = "") -> Work:
    """Convert an upstream's error with a body of some size."""

    def work(size: int) -> Callable[[], object]:
        answer = errors.Answer(500, kind, coding, make(size), True)
        return lambda: errors.convert(ASKED, answer, RULES.errors)

    return work


def repeated(part: bytes, begin: bytes = b"", end: bytes = b"") -> Callable[[int], bytes]:
    """Make bytes of some size."""
    return lambda size: begin + part * (size // len(part)) + end


def on_text(function: Callable[[str], object], part: str, begin: str = "", end: str = "") -> Work:
    """Call a function with a text of some size."""

    def work(size: int) -> Callable[[], object]:
        text = begin + part * (size // len(part)) + end
        return lambda: function(text)

    return work


def on_bytes(function: Callable[[bytes], object], part: bytes, begin: bytes = b"") -> Work:
    """Call a function with bytes of some size."""

    def work(size: int) -> Callable[[], object]:
        data = begin + part * (size // len(part))
        return lambda: function(data)

    return work


def head_of(data: bytes) -> None:
    """Read a head, which may be malformed."""
    with contextlib.suppress(BrokenError):
        heads.read_request(data)


def beginning(part: bytes, begin: bytes) -> Work:
    """Convert the beginning of a longer error."""

    def work(size: int) -> Callable[[], object]:
        body = begin + part * (size // len(part))
        answer = errors.Answer(500, "application/json", "", body, False)
        return lambda: (errors.is_long_native(answer), errors.convert(ASKED, answer, RULES.errors))

    return work


def redirect(location: str) -> object:
    """Map a redirect, and find out whether it leads to a login page."""
    return (
        login.redirect_place(
            location,
            url="http://registry.example:80/api/2.0/mlflow/x",
            base_path="",
            stays=RULES.is_api_path,
            file=False,
            rules=RULES.errors.login,
        ),
        rewrite.map_location(
            location, base="http", ours=OURS, public="http://p", mount="", base_path=""
        ),
    )


def forwarded_for(value: bytes, name: bytes = b"x-forwarded-for") -> object:
    return forwarded.read(
        {name: value}, peer="10.1.1.1", scheme="http", host="h", trusted=[NETWORK]
    )


def forwarded_standard(value: bytes) -> object:
    """The same, with RFC 7239's field."""
    return forwarded_for(value, b"forwarded")


def page(body: bytes) -> object:
    """Convert a success that may be a page."""
    answer = errors.Answer(200, "text/html", "", body, True)
    return login.convert_page(answer, "/x", RULES.errors.login)


def of_path(query: str) -> object:
    return login.may_be_page(
        status=200,
        content_type="text/html",
        disposition="",
        accept="*/*",
        file=True,
        path="/get-artifact",
        query=query,
    )


def on_header(name: bytes) -> Callable[[bytes], object]:
    """Map a header of an answer for the client."""
    known = places.Places(OURS[0], "http", "proxy.example", "/mlflow", "/base")
    return lambda value: known.headers(((name, value),))


def target_of(path: str) -> object:
    """Compute a path's route and its text for display."""
    return ROUTER.route(path, (0,)), target.shown(path)


def same_header(size: int) -> Callable[[], object]:
    fields = [(b"X-A", b"b")] * size
    return lambda: headers.read(fields)


WORK: dict[str, Work] = {
    # Messages of errors.
    "text": error(repeated(b"word ")),
    "charset that takes squared time": error(
        lambda size: b"-" + b"a" * 4 * size, "text/html; charset=punycode"
    ),
    "charset that raises": error(repeated(b"a."), "application/json; charset=idna"),
    "false letters": error(repeated(b"\xff")),
    "digits of a reference": error(repeated(b"9", b"<title>&#", b";</title>")),
    "zeros of a reference": error(repeated(b"0", b"<title>&#", b"65;</title>")),
    "hexadecimal digits": error(repeated(b"9", b"<title>&#x", b";</title>")),
    "references": error(repeated(b"&#65;", b"<title>")),
    "ampersands": error(repeated(b"&", b"<title>")),
    "long name of a reference": error(repeated(b"a", b"<title>&")),
    "tags": error(repeated(b"<a>")),
    "tags without an end": error(repeated(b"<a")),
    "angle brackets": error(repeated(b"<")),
    "long tag": error(repeated(b"a", b"<")),
    "comments without an end": error(repeated(b"<!--")),
    "sections": error(repeated(b"<![CDATA[]]>")),
    "sections without an end": error(repeated(b"<![CDATA[")),
    "scripts": error(repeated(b"<script></script>")),
    "scripts without an end": error(repeated(b"<script></script ")),
    "blanks at the end of a script": error(repeated(b" ", b"<script></script")),
    "titles": error(repeated(b"<title>x</title>")),
    "XML": error(repeated(b"<Code>x</Code>", b"<Error>"), "application/xml"),
    "control characters": error(repeated(b"\x00\xe2\x80\xa8"), "text/plain"),
    # JSON.
    "digits": error(repeated(b"1", b'{"detail":', b"}"), "application/json"),
    "digits of a fraction": error(repeated(b"1", b'{"detail":0.', b"}"), "application/json"),
    "digits of an exponent": error(repeated(b"1", b'{"detail":1e-', b"}"), "application/json"),
    "numbers": error(repeated(b"1" * 99 + b",", b"[", b"1]"), "application/json"),
    "deep lists": error(repeated(b"["), "application/json"),
    "deep objects": error(repeated(b'{"a":'), "application/json"),
    "nested lists": error(
        repeated(b'[["x"],[["x"]]],', b'{"message":[', b"1]}"), "application/json"
    ),
    "objects": error(repeated(b'{"title":"a","detail":"b"},', b"[", b"1]"), "application/json"),
    "escapes": error(repeated(b"\\u1234", b'{"message":"', b'"}'), "application/json"),
    "blanks": error(repeated(b" ", b"{", b"}"), "application/json"),
    "UTF-32": error(lambda size: ("[" + "1," * (size // 8) + "1]").encode("utf-32")),
    "beginning of blanks": beginning(b" ", b""),
    "beginning with blanks in it": beginning(b" ", b'{"error_code"'),
    "beginning with many codes": beginning(b'"error_code" ', b"{"),
    "beginning with braces": beginning(b"{", b""),
    # Compressed.
    "gzip": error(lambda size: gzip.compress(b"x" * size * 20), coding="gzip"),
    "gzip of what is not": error(repeated(b"\x1f\x8b"), coding="gzip"),
    "deflate": error(lambda size: zlib.compress(b"<a>" * size * 7), coding="deflate"),
    # Content types and other headers of an upstream.
    "label": on_text(bodies.is_json, "a+", "application/"),
    "blanks in a label": on_text(bodies.is_html, " ", "text/html", "x"),
    "charsets": on_text(lambda kind: page_words(b"x", kind), "charset" + " " * 9),
    "long charset": on_text(lambda kind: page_words(b"x", kind), "a-", "charset="),
    "repeated header": same_header,
    "redirect": on_text(redirect, "a/", "/"),
    "redirect upwards": on_text(redirect, "../", "a/"),
    "redirect with parameters": on_text(redirect, "%25", "http://idp.example/%"),
    "redirect to an odd host": on_text(redirect, MARKS, "http://a"),
    "redirect to many ports": on_text(redirect, ":1", "http://a"),
    "redirect to a long port": on_text(redirect, "1", "http://a:"),
    "redirect to brackets": on_text(redirect, "[", "http://"),
    "refresh": on_bytes(on_header(b"Refresh"), b" ", b"0"),
    "refresh of blanks alone": on_bytes(on_header(b"Refresh"), b"\xc2\xa0"),
    "refresh of digits": on_bytes(on_header(b"Refresh"), b"1."),
    "refresh of a URL": on_bytes(on_header(b"Refresh"), b" ", b"0;url"),
    "links": on_bytes(on_header(b"Link"), b"</a>,"),
    "links of brackets": on_bytes(on_header(b"Link"), b",<"),
    "links of blanks": on_bytes(on_header(b"Link"), b", "),
    "cookie": on_bytes(on_header(b"Set-Cookie"), b";Path=/a", b"a=b"),
    "cookie of domains": on_bytes(on_header(b"Set-Cookie"), b";Domain=a.b", b"a=b"),
    "options": on_bytes(lambda value: hop_by_hop.options([value]), b"a,"),
    "field of a connection": on_bytes(hop_by_hop.is_end_to_end, b"x-forwarded-"),
    "redirect to https": on_text(
        lambda location: to_https.secure_url(308, location, url="http://a/x"), "a/", "https://a/"
    ),
    "interim answers": on_bytes(
        lambda data: framing.interim_end(data), b"HTTP/1.1 100 \r\n\r\n"
    ),
    "length": on_bytes(framing.content_length, b"1"),
    # Login pages, and bodies that may be one.
    "page": on_bytes(page, b"<p>x</p>"),
    "blanks before a page": on_bytes(page, b" "),
    "queries": on_text(of_path, "a&"),
    "names in queries": on_text(of_path, "path=%41&"),
    # Data from clients.
    "target": on_text(target_of, "/a"),
    "target of escapes": on_text(target_of, "%25"),
    "target of one escape": on_text(target_of, "25", "/%"),
    "target of layers": on_text(target_of, "%2%35"),
    "target of slashes": on_text(target_of, "/"),
    "target of escaped slashes": on_text(target_of, "%2F"),
    "target of dots": on_text(target_of, "/.."),
    "target of parameters": on_text(target_of, ";a"),
    "target of users": on_text(target_of, "//a@"),
    "target of roots": on_text(target_of, "/api/2.0/mlflow"),
    "target of versions": on_text(target_of, ".1", "/api/2"),
    "target of artifacts": on_text(target_of, "/api/2.0/mlflow-artifacts/artifacts/a"),
    "head": on_bytes(head_of, b"A: b\r\n", b"GET / HTTP/1.1\r\n"),
    "long line of a head": on_bytes(head_of, b" ", b"GET / HTTP/1.1\r\nA:"),
    "line feeds in a head": on_bytes(heads.end, b"\n\r"),
    "empty lines": on_bytes(heads.empty_lines, b"\r\n"),
    "forwarded": on_bytes(forwarded_for, b"10.1.1.1,"),
    "long forwarded address": on_bytes(forwarded_for, b"9"),
    "commas": on_bytes(forwarded_for, b","),
    "Forwarded": on_bytes(forwarded_standard, b'for="[::1]:1";proto=http;host=a,'),
    "Forwarded, quotes": on_bytes(forwarded_standard, b'for="\\"'),
    "Forwarded, a long quote": on_bytes(forwarded_standard, b"\\", b'for="'),
    "Forwarded, semicolons": on_bytes(forwarded_standard, b";"),
    "Forwarded, blanks": on_bytes(forwarded_standard, b" ", b"for"),
    "Forwarded, marks": on_bytes(forwarded_standard, MARKS.encode(), b"host="),
    "forwarded host": on_bytes(lambda value: forwarded_for(value, b"x-forwarded-host"), b"a."),
    "forwarded prefix": on_bytes(lambda value: forwarded_for(value, b"x-forwarded-prefix"), b"/"),
    "host": on_text(lambda host: hosts.is_allowed(host, HOSTS), "a."),
    "host of colons": on_text(lambda host: hosts.is_allowed(host, HOSTS), ":"),
    "host of marks": on_text(lambda host: hosts.is_allowed(host, HOSTS), MARKS),
    "origin": on_text(lambda value: origin.is_foreign("PUT", value, "a", ["b"]), "a.", "http://"),
    "origin of marks": on_text(
        lambda value: origin.is_foreign("PUT", value, "a", []), MARKS, "http://a"
    ),
    "request id": on_bytes(lambda value: request_ids.of({b"x-request-id": value}, "0"), b"a"),
    "traceparent": on_bytes(lambda value: request_ids.of({b"traceparent": value}, "0"), b"00-"),
    "GraphQL": on_bytes(lambda body: gate.names_field(body, "f"), b"f_", b'{"query":"'),
    "deep GraphQL": on_bytes(lambda body: gate.names_field(body, "f"), b'{"query":'),
    "digits in GraphQL": on_bytes(lambda body: gate.names_field(body, "f"), b"1", b'{"query":'),
    # Text for logs and display.
    "log": on_text(log_guard.shown, ":"),
    "log of an address": on_text(log_guard.shown, "a", "server connection to "),
    "log of a word": on_text(log_guard.shown, "a: Bad "),
    "problem": on_text(replies.connection_problem, "no rout"),
    "text of the access log": on_text(access_log._text, "\udcff\x00"),
    "shown": on_bytes(mlflow_text.render, b"1,", b"["),
    "shown, numbers": on_bytes(mlflow_text.render, b"1", b'{"start_time":'),
    "shown, names": on_text(
        lambda text: mlflow_text.render(json.dumps({"start_time": text}).encode()), "\u0663"
    ),
    "shown, words": on_text(
        lambda text: mlflow_text.render(json.dumps({"message": text}).encode()), "a "
    ),
    "shown, deep": on_bytes(lambda begin: mlflow_text.render(begin + b"1"), b'{"a":'),
    "shown, a table": on_bytes(
        lambda begin: mlflow_text.render(begin + b"{}]"), b'{"key":"k","value":"v"},', b"["
    ),
    # Health and dialects.
    "health": on_bytes(
        lambda body: answers.error_code(answers.Answer(200, "application/json", body)), b"["
    ),
    "dialect": on_text(
        lambda text: list(dialect._places(answers.Answer(302, location=text))), "/a", "", "!"
    ),
    "dialect of brackets": on_text(
        lambda text: list(dialect._places(answers.Answer(302, location=text))), "[", "http://"
    ),
}  # fmt: skip

WORK |= {
    f"false letters of {codec}": error(repeated(b"\x81\xff"), f"text/plain; charset={codec}")
    for codec in sorted(bodies.CODECS)
}


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time that the work takes."""
    best = float("inf")
    for _ in range(4):
        urllib.parse.clear_cache()  # type: ignore[attr-defined]
        bodies.is_html.cache_clear()
        forwarded.is_trusted.cache_clear()
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("name", WORK)
def test_four_times_the_size(name: str) -> None:
    """Four times the size takes about four times as long; sixteen times would be quadratic."""
    small, large = WORK[name](SIZE), WORK[name](4 * SIZE)
    # Work that takes no time has not grown.
    grown = 0.0
    for _ in range(3):  # A busy machine may slow one of the two down.
        grown = seconds(large) / (seconds(small) + 0.0005)
        if grown < 9:
            return
    pytest.fail(f"{grown:.1f} times as long")
