"""HTTP between clients and registries, as a layer set in mitmproxy's hook `next_layer`.

* `plug`: puts the engine in place of mitmproxy's HTTP layer, in reverse mode over TCP.
* `layer`: one engine per client; takes events, returns commands, does no I/O itself.
* `front_http1`, `front_http2`: the client's side, for each version of HTTP. Beside each,
  `http1_requests` and `http2_requests` read, `http1_connection` and `http2_connection` keep what
  reading and writing share, and `client_connection` what the versions share. `http1_framing`,
  `http2_fields`, `uploads` and `downloads` are parts.
* `exchange`: one request with its answer, as functions over one object. `asking` and `answering`
  take the two halves and run mitmproxy's hooks in mitmproxy's order; `to_registry` connects and
  tries again, `sending` completes an answer, `endings` has all other ends.
* `registries`, `upstream`, `tap`: connections to registries, plain or with TLS.
* `websocket`: what a connection is after the answer 101.
* `heads`, `readers`, `upstream_messages`, `sizes`: the syntax and the framing of messages.
* `failures`: exceptions in the engine itself.
* `interface`, `front`, `back`: the calls to the addon, to a client's side, to a registry's.

The engine implements the proxy's own answers, early refusals, framing, limits, retries, broken
transfers and drain itself, because mitmproxy's layer has no hooks for them
(https://github.com/mitmproxy/mitmproxy/issues/4854,
https://github.com/mitmproxy/mitmproxy/pull/7999).
"""
