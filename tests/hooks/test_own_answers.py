"""The words and the log lines of the proxy's own answers."""

import pytest
from support.assembled import Assembled, make_flow


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/2.0/mlflow-artifacts/artifacts/x", {}),
        ("/api/2.0/mlflow-artifacts/artifacts/x", {"x-request-id": "mine-1"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example"}),
        ("/api/2.0/mlflow/x", {"origin": "https://evil.example", "x-request-id": "a b\x1b"}),
    ],
)
def test_own_errors_stand_in_the_log(
    addon: Assembled,
    path: str,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The id that the client sees, its own if it is fit to be shown, leads to a line of the log."""
    addon.options(mlflow_serve_artifacts="false")
    flow = make_flow(f"{path}?token=secret", method="POST", headers=headers)
    addon.run("requestheaders", flow)
    assert flow.response is not None
    request_id = flow.response.headers["x-request-id"]
    assert (request_id == headers.get("x-request-id")) is (headers.get("x-request-id") == "mine-1")
    (record,) = caplog.records
    assert record.message.startswith(f"answered {flow.response.status_code} to POST {path}: ")
    assert record.message.endswith(f" (request id {request_id})")
    assert "secret" not in record.message
