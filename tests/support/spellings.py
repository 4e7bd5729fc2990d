"""Parts of HTTP/1 messages: valid ones, and odd ones that servers read differently or refuse."""

from __future__ import annotations

METHODS = [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"M-SEARCH", b"get"]
TARGETS = [b"/", b"/a?b=c&d", b"/%2e%2e//x", b"/\xc3\xa4", b"http://a.test/x?y", b"HTTP://a.test/"]
ABSOLUTE = TARGETS[-2:]
LINES = [
    *(
        b"X: y",
        b"x:y",
        b"X:",
        b"X: \t v w \t",
        b"X: \xff",
        b"X: a:b",
        b"Cookie: a=b",
        b"!#-_.'|: 1",
    ),
    *(b"Connection: close", b"Connection: keep-alive", b"connection: Keep-Alive, TE"),
    *(b"Keep-Alive: timeout=5", b"Upgrade: h2c", b"TE: trailers", b"Expect: 100-continue"),
    *(b"expect: 100-Continue", b"Expect: something", b"Accept-Encoding: gzip"),
]
ODD_METHODS = [b"G(T", b"CONNECT", b""]
ODD_TARGETS = [b"*", b"a", b"/a b", b"http://b.test/", b"ftp://a.test/", b"http:///", b"//\x7f"]
ODD_VERSIONS = [b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b""]
ODD_LINES = [
    *(b"X : y", b" X: y", b"X", b": y", b"X: a\0", b"X: a\rb", b"X: a\nB: c", b"X\xe4: y"),
    *(b"Host: a.test", b"Host: b.test", b"Connection: content-length", b"Connection: host"),
    *(b"Content-Length: -1", b"Content-Length: +3", b"Content-Length: 03", b"Content-Length: 3, 3"),
    *(b"Content-Length: 99999999999999999999", b"Content-Length:", b"Transfer-Encoding: identity"),
    *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked"),
    *(b"Transfer-Encoding: x", b"Transfer-Encoding:"),
]
HOSTS = [b"Host: a.test", b"host:a.test", b"HOST: \ta.test "]
EXTENSIONS = [(b"", b""), (b"", b";a=b"), (b" ", b";a"), (b"", b";")]
ODD_CHUNKS = [
    b"1\na\n",
    b"+1\r\na\r\n",
    b"0x1\r\na\r\n",
    b"1 1\r\na\r\n",
    b"1\r\naXX",
    b"z",
    b"\r\n",
]
TRAILER_LINES = [b"", b"", b"", b"X: y\r\n"]
REASONS = [b" OK", b" ", b"", b" \xe4"]
STATUSES = [200, 200, 200, 404, 500, 204, 304, 206, 302, 599]
ODD_STATUS_LINES = [
    *(b"HTTP/1.1 20 OK", b"HTTP/1.1 099 OK", b"HTTP/2 200", b"ICY 200 OK", b"HTTP/1.1 2000 OK"),
    *(b"HTTP/1.1 200 O\0K", b"", b"HTTP/1.1", b"HTTP/1.1  200 OK", b"HTTP/1.1 101 Switching"),
]
ODD_ANSWER_LINES = [
    *(b"X : y", b" X: y", b"X", b": y", b"X: a\0", b"X: a\rb", b"Content-Length: 7"),
    *(b"Content-Length: -1", b"Content-Length: 05", b"Transfer-Encoding: gzip"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
]
ANSWER_LINES = [
    *(b"X: y", b"x:y", b"X:", b"Set-Cookie: a", b"Set-Cookie: b", b"X: \xff", b"Date: now"),
    *(b"Connection: close", b"Connection: keep-alive", b"connection: Close", b"Server: s"),
]
INTERIMS = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]
