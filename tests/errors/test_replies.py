"""Answers that the proxy itself makes."""

import json

import pytest

from addon.errors import replies


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("[Errno 111] Connect call failed ('10.0.0.1', 9)", "it refused the connection"),
        ("[Errno 24] Too many open files", "this proxy has no open files left"),
        ("[Errno -2] Name or service not known", "its name is unknown"),
        ("[Errno -3] Temporary failure in name resolution", "its name is unknown"),
        (
            "Certificate verify failed: self-signed certificate",
            "its TLS certificate was not accepted",
        ),
        ("The remote server does not speak TLS.", "the TLS handshake failed"),
        ("[Errno 110] Connect call failed ('10.0.0.1', 9)", "it did not answer in time"),
        ("[Errno 113] Connect call failed ('10.0.0.1', 9)", "there is no route to it"),
        ("server closed connection", "it closed the connection without an answer"),
        ("[Errno 104] Connection reset by peer", "it closed the connection without an answer"),
        ("Cannot parse HTTP response: bad", "its answer was not valid HTTP"),
        ("unexpected server response: b'Set-Cookie: secret'", "its answer was not valid HTTP"),
        ("something else", "the connection failed"),
    ],
)
def test_connection_problem(message: str, sentence: str) -> None:
    """mitmproxy's messages become plain words, without the peer's addresses and bytes."""
    assert replies.connection_problem(message).sentence == sentence


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "secret 10.0.0.1", "http_request_error"),
        (413, "secret 10.0.0.1", "http_request_error"),
        (502, "secret 10.0.0.1", "destination_unavailable"),
        (502, "Connect call failed 10.0.0.1", "connection_refused"),
        (504, "timed out", "connection_timeout"),
    ],
)
def test_own_errors(status: int, message: str, kind: str) -> None:
    """The proxy's own error names itself and the reason, and no internal details."""
    problem = replies.explain(status, message)
    reply = replies.own_error(status, "CODE", problem.sentence, problem.kind, "id-1")
    content, headers = json.loads(reply.body), dict(reply.headers)
    assert reply.status == status
    assert (content["source"], content["error_code"]) == ("proxy", "CODE")
    assert content["request_id"] == headers["X-Request-Id"] == "id-1"
    assert content["message"].endswith(". (request id id-1)")
    assert headers["Proxy-Status"] == f"mlflow-proxy; error={kind}"
    assert "Retry-After" not in headers
    assert "secret" not in content["message"]
    assert "10.0.0.1" not in content["message"]
