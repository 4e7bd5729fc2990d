"""MLflow servers that serve only half of MLflow, on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import lab
import pytest
from support.client import request
from support.fixtures import StartProxy
from support.mlflow_client import Client
from support.probe import probe

OPTIONS = ("--no-serve-artifacts", "--artifacts-only")
OFF = {
    "--no-serve-artifacts": {"artifacts_api"},
    "--artifacts-only": {
        *("experiments_api", "runs_api", "models_api", "model_versions_api", "logged_models_api"),
    },
}
SAID = {
    "--no-serve-artifacts": "Run `mlflow server` with `--serve-artifacts` to enable.",
    "--artifacts-only": "run `mlflow server` without `--artifacts-only`",
}
CALLS = [
    ("--no-serve-artifacts", "upload"),
    ("--no-serve-artifacts", "multipart_upload"),
    ("--no-serve-artifacts", "list"),
    ("--no-serve-artifacts", "download"),
    ("--artifacts-only", "create_experiment"),
    ("--artifacts-only", "get_run"),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, lab.Server]]:
    """One MLflow server for each of the options."""
    with ExitStack() as running:
        started = {
            option: running.enter_context(
                lab.registry(tmp_path_factory.mktemp("mlflow"), ajax_only=False, options=[option])
            )
            for option in OPTIONS
        }
        yield {option: server.wait("/health") for option, server in started.items()}


@pytest.mark.parametrize("option", OPTIONS)
def test_probes_report_disabled_apis(
    servers: dict[str, lab.Server], shared_proxy: StartProxy, option: str
) -> None:
    """An API that is off is reported as disabled, not as failed, with and without the proxy."""
    proxy = shared_proxy(servers[option].url, external=())
    answer = request(proxy.url, "/health/mlflow")
    document = json.loads(answer.body)
    assert (answer.status, document["status"]) == (200, "ok")
    off = f"disabled: the registry runs with {option}"
    assert {name for name, said in document["probes"].items() if said == off} == OFF[option]
    direct = probe(servers[option].url, "--json", "--write")
    assert direct.returncode == 0, direct.stdout
    states = {found["name"]: found["state"] for found in json.loads(direct.stdout)["probes"]}
    assert states.pop("artifacts_write") == ("disabled" if option == OPTIONS[0] else "ok")
    assert {name for name, state in states.items() if state == "disabled"} == OFF[option]


@pytest.mark.parametrize("version", [3, 2])
def test_message_in_the_client(
    servers: dict[str, lab.Server], shared_proxy: StartProxy, version: int
) -> None:
    """The client shows MLflow's own message at once; it would retry a 503 and hide the message."""
    with Client(version) as client:
        for option, call in CALLS:
            outcome = client.call(call, shared_proxy(servers[option].url, external=()).url)
            assert "Exception" in outcome.result or outcome.result == "HTTPError"
            assert "too many" not in outcome.message
            assert any(said in outcome.message for said in (SAID[option], option)), outcome
