"""Fixtures that run real processes: MLflow, nginx as the registry, mitmdump with the addon."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import Upstream

from addon.routing import gate


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> None:
    """Remove MLflow settings from the developer's environment, so that no server sees them."""
    for name in [*os.environ]:
        if name.startswith("MLFLOW_") or name == gate.ENVIRONMENT:
            del os.environ[name]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A plain MLflow server: an internal upstream."""
    with lab.registry(tmp_path_factory.mktemp("mlflow"), ajax_only=False) as server:
        yield server.wait("/health")


@pytest.fixture(scope="session")
def external_registry(
    mlflow_server: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """nginx in front of MLflow; it answers /api/ with its own HTML 404."""
    with lab.external(tmp_path_factory.mktemp("nginx"), mlflow_server.url) as server:
        yield server.wait("/health")


@pytest.fixture(scope="session")
def external_proxy(
    external_registry: lab.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """The proxy in front of the external registry, with the shipped rules."""
    with running_proxy(tmp_path_factory.mktemp("proxy"), external_registry.url) as server:
        yield server
        # No test of the session may have caused an internal error in the addon.
        assert "internal error" not in server.text(), server.text()


@pytest.fixture(scope="session")
def scripted() -> Iterator[Upstream]:
    """An upstream whose answer each test sets: `scripted.answer = ...`."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def scripted_proxy(
    scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A proxy with the shipped rules in front of `scripted`, shared by the whole session."""
    with running_proxy(tmp_path_factory.mktemp("scripted"), scripted.url) as server:
        yield server
        # Tests send this word where it must not reach the log.
        assert "secret" not in server.text(), server.text()


@pytest.fixture(scope="module")
def limited_proxy(
    request: pytest.FixtureRequest, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Server]:
    """A proxy in front of `scripted` with the `LIMITS` of the test's module.

    The folder of its log also holds its certificates and its access log, `access`.
    """
    folder = tmp_path_factory.mktemp("limited")
    options = ("--set", f"confdir={folder}", "--set", f"mlflow_access_log={folder / 'access'}")
    limits = request.module.LIMITS
    with running_proxy(folder, scripted.url, options=options, limits=limits) as server:
        yield server
        assert "secret" not in server.text(), server.text()


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """Start proxies for one test: `start_proxy(upstream, external=..., rules changes...)`."""
    numbers = itertools.count()
    with contextlib.ExitStack() as started:

        def start(url: str, /, **how: Any) -> lab.Server:
            folder = tmp_path / f"proxy{next(numbers)}"
            return started.enter_context(running_proxy(folder, url, **how))

        yield start


@pytest.fixture(scope="module")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProxy]:
    """Like `start_proxy`, but a module shares one proxy for each set of arguments."""
    running: dict[str, lab.Server] = {}
    with contextlib.ExitStack() as started:

        def start(url: str, /, **how: Any) -> lab.Server:
            kind = repr((url, how))
            if kind not in running:
                proxy = running_proxy(tmp_path_factory.mktemp("shared"), url, **how)
                running[kind] = started.enter_context(proxy)
            return running[kind]

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "upstream.pem"
    file.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file
