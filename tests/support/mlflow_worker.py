"""Calls MLflow's client on request; runs in an environment with MLflow.

Reads [tracking URI, name of a call] as JSON, one per line, and answers each with one line of JSON:
[result or type of the exception, its error_code, its message, seconds].
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {
    "GIT_PYTHON_REFRESH": "quiet",
    # Keep the client's retries short.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "10",
}

import mlflow
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

FOLDER = Path(tempfile.mkdtemp())


def artifacts() -> Any:
    return get_artifact_repository("mlflow-artifacts:/1/a/artifacts")


def upload(name: str, content: str) -> None:
    file = FOLDER / name
    file.write_text(content)
    artifacts().log_artifact(str(file))


def log_span() -> str:
    """Export a span (MLflow 3): the client asks for the version, then sends OTLP."""
    from mlflow.entities.span import create_mlflow_span
    from mlflow.tracking._tracking_service.utils import _get_store
    from opentelemetry.sdk.trace import TracerProvider

    span = TracerProvider().get_tracer("t").start_span("s")
    span.end()
    _get_store().log_spans("0", [create_mlflow_span(span, "tr-1")])
    return "logged"


def with_setting(name: str, call: Callable[[], Any]) -> Any:
    os.environ[name] = "true"
    try:
        return call()
    finally:
        del os.environ[name]


CALLS: dict[str, Callable[[], Any]] = {
    "get_run": lambda: MlflowClient().get_run("0" * 32).info.run_id,
    "create_experiment": lambda: MlflowClient().create_experiment("x"),
    "log_metric": lambda: MlflowClient().log_metric("0" * 32, "m", 1.0),
    "create_model": lambda: MlflowClient().create_registered_model("m").name,
    "latest_versions": lambda: [v.version for v in MlflowClient().get_latest_versions("m")],
    "upload": lambda: upload("a.txt", "small"),
    "multipart_upload": lambda: with_setting(
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", lambda: upload("b.bin", "content" * 10)
    ),
    "list": lambda: [file.path for file in artifacts().list_artifacts()],
    "download": lambda: Path(artifacts().download_artifacts("model.pkl", FOLDER)).read_text(),
    "presigned_download": lambda: with_setting(
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", CALLS["download"]
    ),
    "log_span": log_span,
    "delete": lambda: artifacts().delete_artifacts("model.pkl"),
    "delete_experiment": lambda: MlflowClient().delete_experiment("1"),
    "search_experiments": lambda: [e.name for e in MlflowClient().search_experiments()],
}

for line in sys.stdin:
    uri, call = json.loads(line)
    mlflow.set_tracking_uri(uri)
    start = time.monotonic()
    code, message = "", ""
    try:
        result = CALLS[call]()
    except Exception as error:
        result = type(error).__name__
        code, message = getattr(error, "error_code", ""), str(error)
    print(json.dumps([result, code, message, time.monotonic() - start]), flush=True)
