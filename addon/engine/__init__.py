"""HTTP between clients and registries, as a layer that mitmproxy is given in its hook `next_layer`.

* `plug`: puts the engine in place of mitmproxy's own HTTP layer, in reverse mode over TCP.
* `layer`: one engine for each client; takes events, gives back commands, does no I/O by itself.
* `front_http1`, `front_http2`: a client's side, by either version of HTTP.
* `exchange`: one request with its answer; runs mitmproxy's hooks in mitmproxy's order.
* `upstream`, `tap`: a connection to a registry, plain or with TLS.
* `heads`, `readers`, `sizes`: pure; what messages are, and where they end.
* `interface`: what the engine asks the addon, and what the two leave for each other in a flow.

Own answers, early refusals, framing, limits, retries, broken transfers and drain are how the engine
works; mitmproxy's layer has no hooks for them
(https://github.com/mitmproxy/mitmproxy/issues/4854,
https://github.com/mitmproxy/mitmproxy/pull/7999).
"""
