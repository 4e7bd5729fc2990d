"""mitmproxy's filter expressions in rules. Only mitmproxy can parse them.

A rewrite is decided when the request headers have arrived, before any body and any response (see
`proxy.requestheaders`). An expression that needs those can never match, so it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from mitmproxy import flowfilter

# https://docs.mitmproxy.org/stable/concepts/filters/
_TOO_EARLY = (
    flowfilter.FBod,
    flowfilter.FBodRequest,
    flowfilter.FBodResponse,
    flowfilter.FCode,
    flowfilter.FContentTypeResponse,
    flowfilter.FErr,
    flowfilter.FHeadResponse,
    flowfilter.FResp,
)


Filter = flowfilter.TFilter


def parse_request_filter(expression: str) -> Filter:
    """Compile a filter expression that only needs the request headers.

    Raises:
        ValueError: it is not valid, or needs a body or a response.
    """
    try:
        compiled = flowfilter.parse(expression)
        parts = list(_parts(compiled))
    except ValueError as error:
        raise ValueError(f"not a valid mitmproxy filter: {error}") from None
    except RecursionError:
        raise ValueError("not a usable mitmproxy filter: nested too deep") from None
    for part in parts:
        if isinstance(part, _TOO_EARLY):
            raise ValueError(
                f"~{part.code} asks for a body or a response; "
                "expected a filter on the request line and headers"
            )
    return compiled


def _parts(compiled: Filter) -> Iterator[Filter]:
    yield compiled
    for part in getattr(compiled, "lst", ()):
        yield from _parts(part)
    if (inner := getattr(compiled, "itm", None)) is not None:
        yield from _parts(inner)
