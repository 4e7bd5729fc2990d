"""HTTP between clients and registries, as a layer set in mitmproxy's hook `next_layer`.

* `plug`: puts the engine in place of mitmproxy's HTTP layer, in reverse mode over TCP.
* `layer`: one engine per client; takes events, returns commands, does no I/O itself.
* `front_http1`, `front_http2`: the client's side, for each version of HTTP.
* `exchange`: one request with its answer; runs mitmproxy's hooks in mitmproxy's order.
* `upstream`, `tap`: a connection to a registry, plain or with TLS.
* `heads`, `readers`, `sizes`: pure functions for the syntax and the framing of messages.
* `interface`: the engine's calls to the addon.

The engine implements the proxy's own answers, early refusals, framing, limits, retries, broken
transfers and drain itself, because mitmproxy's layer has no hooks for them
(https://github.com/mitmproxy/mitmproxy/issues/4854,
https://github.com/mitmproxy/mitmproxy/pull/7999).
"""
