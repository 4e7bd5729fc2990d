"""A user's script that answers or kills requests in the hook that their query names."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

HEADERS = {"Content-Type": "text/html", "X-Made-By": "a script"}
BODY = b"<html>not for you</html>"


def _hook(name: str) -> Callable[[http.HTTPFlow], None]:
    def hook(flow: http.HTTPFlow) -> None:
        query = flow.request.query
        if query.get("kill") == name:
            flow.kill()
        elif query.get("answer") == name:
            flow.response = http.Response.make(401, BODY, HEADERS)

    return hook


requestheaders = _hook("requestheaders")
request = _hook("request")
