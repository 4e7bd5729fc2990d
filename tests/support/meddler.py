"""A mitmproxy script that changes requests and options as a header of the request says.

`X-Meddle: requestheaders path /x` sets an attribute of the request in that hook; `header` sets
X-HTTP-Method-Override; `option` sets an option, and the answer says whether that worked.
"""

from __future__ import annotations

from mitmproxy import ctx, exceptions, http


class Meddler:
    """Applies the changes in the header X-Meddle."""

    def _meddle(self, flow: http.HTTPFlow, hook: str) -> None:
        when, _, what = flow.request.headers.get("X-Meddle", "").partition(" ")
        name, _, value = what.partition(" ")
        if when != hook:
            return
        match name:
            case "header":
                flow.request.headers["X-HTTP-Method-Override"] = value
            case "stream":
                flow.request.stream = True
            case "body":
                flow.request.text = value
            case "option":
                try:
                    ctx.options.set(value)
                    said = "set"
                except exceptions.OptionsError as error:
                    said = str(error)
                flow.response = http.Response.make(200, said, {"Content-Type": "text/plain"})
            case _:
                setattr(flow.request, name, value)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Apply the changes before the body."""
        self._meddle(flow, "requestheaders")

    def request(self, flow: http.HTTPFlow) -> None:
        """Apply the changes when the body is complete."""
        self._meddle(flow, "request")


addons = [Meddler()]
