"""The single sign-on page: Apache checks sessions and tokens between the proxy and MLflow."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import lab
import pytest
from support.certificates import Authority
from support.client import request
from support.examples import Page
from support.identity_provider import IdentityProvider

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=10"
NAME = "mlflow.example.org"
"""The public name; not a loopback name, as MLflow trusts those more than others."""
MODULES = [
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "auth_openidc",
    "proxy",
    "proxy_http",
    "headers",
]


def apache(folder: Path, config: str, port: int) -> lab.Server:
    """Apache with the page's configuration and a distribution's usual settings."""
    folder.mkdir()
    program = lab.binary("apache2")
    modules = program.parent / "usr" / "lib" / "apache2" / "modules"
    lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in MODULES]
    lines += [f"Listen 127.0.0.1:{port}", "ServerName localhost", f"PidFile {folder}/pid"]
    lines += [f"DefaultRuntimeDir {folder}", f"ServerRoot {folder}", "ErrorLog /dev/stderr"]
    lines += ["Mutex posixsem", "User nobody", "Group nogroup"]
    # Its workers run as the user nobody, which cannot read the tests' certificates.
    lines += ["OIDCSSLValidateServer Off", "OIDCOAuthSSLValidateServer Off"]
    (folder / "apache.conf").write_text("\n".join([*lines, config]))
    return lab.Server(
        [program, "-DFOREGROUND", "-f", folder / "apache.conf"],
        url=f"http://127.0.0.1:{port}",
        log=folder / "log",
        env={"OIDC_CLIENT_SECRET": "apaches-secret", "OIDC_CRYPTO_PASSPHRASE": "a-passphrase"},
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the provider's certificate."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[IdentityProvider]:
    """The identity provider."""
    with IdentityProvider(authority) as provider:
        yield provider


@pytest.fixture(scope="module")
def page(provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page, with local ports and URLs."""
    mlflow, sso, proxy = (str(lab.free_port()) for _ in range(3))
    return Page(
        "sso.md",
        tmp_path_factory.mktemp("sso") / "page",
        {
            "--port 5000": f"--port {mlflow}",
            "http://127.0.0.1:5000": f"http://127.0.0.1:{mlflow}",
            "http://127.0.0.1:8000": f"http://127.0.0.1:{sso}",
            "--listen 0.0.0.0:8080": f"--listen 127.0.0.1:{proxy}",
            "URI=http://mlflow.example.org:8080": f"URI=http://127.0.0.1:{proxy}",
            "http://mlflow.example.org:8080": f"http://{NAME}:{proxy}",
            "https://idp.example.org": provider.url,
        },
    )


def url(block: str, before: str) -> str:
    """Return the local URL that follows some words of a block."""
    found = re.search(rf"{before} ?(?:http://)?(127\.0\.0\.1:\d+)", block)
    assert found
    return f"http://{found[1]}"


@pytest.fixture(scope="module")
def proxy(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """The proxy, with Apache and MLflow behind it."""
    config, run = page.block("AuthType"), page.block("addon.cli run")
    mlflow, public = url(config, "ProxyPass"), url(run, "--listen")
    port = int(url(run, "--upstream").rpartition(":")[2])
    with (
        page.serve("mlflow server", mlflow) as registry,
        apache(tmp_path_factory.mktemp("apache") / "server", config, port) as sso,
        page.serve("addon.cli run", public) as server,
    ):
        registry.wait("/health", seconds=120)
        sso.wait_for_port()
        yield server.wait("/livez")
        assert "Traceback" not in server.text(), server.text()


class Here(httpx.HTTPTransport):
    """A transport that sends requests for the public name to this machine."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != NAME:
            return super().handle_request(request)
        here = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(
            httpx.Request(
                request.method,
                here,
                headers=request.headers,  # Host stays.
                stream=request.stream,
                extensions=request.extensions,
            )
        )


def test_a_client(page: Page, proxy: lab.Server, provider: IdentityProvider) -> None:
    """A client with a valid token is served; otherwise it gets 401 as JSON that says why."""
    made = page.run("set_experiment", token=provider.token())
    assert made.returncode == 0, made.stderr
    place = f"The server asks for a login at {provider.url}/authorize"
    for token, words in (
        ("", place),
        (f"Bearer {provider.token(lifetime=-100)}", "Unauthorized"),
        ("Bearer of.no.meaning", "Unauthorized"),
    ):
        headers = {"Host": proxy.url.replace("http://127.0.0.1", NAME), "Accept": "*/*"}
        if token:
            headers["Authorization"] = token
        answer = request(proxy.url, SEARCH, headers=headers, skip_host=True)
        said = json.loads(answer.body)
        assert (answer.status, said["error_code"]) == (401, "UNAUTHENTICATED"), said
        assert words in said["message"], said


def test_a_browser(proxy: lab.Server, authority: Authority) -> None:
    """A browser logs in, gets a session under the proxy's name, and may then make changes."""
    trust = ssl.create_default_context(cafile=authority.pem)
    public = proxy.url.replace("127.0.0.1", NAME)
    transport = Here(verify=trust)
    with httpx.Client(base_url=public, follow_redirects=True, transport=transport) as browser:
        page = browser.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, str(page.url)) == (200, public + "/")
        assert "<title>MLflow</title>" in page.text
        assert len(page.history) == 3  # To the provider, back, and to the page.
        assert browser.get(SEARCH).json()["experiments"]
        made = browser.post(
            "/ajax-api/2.0/mlflow/experiments/create",
            json={"name": "of a browser"},
            headers={"Origin": public},
        )
        assert made.status_code == 200, made.text
        browser.cookies.clear()
        assert browser.get(SEARCH, follow_redirects=False).status_code == 401
