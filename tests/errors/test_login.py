"""Login pages and redirects to them."""

import gzip
import json

import pytest

from addon.errors import login
from addon.errors.upstream import Answer
from addon.rules import rules_file
from addon.rules.model import Login

RULES = rules_file.load(rules_file.DEFAULT_PATH)
API = "/api/2.0/mlflow/runs/get"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/model.pkl"
LOGGED = "/api/2.0/mlflow/logged-models/m-1/artifacts/files"
PAGE = b"\n<!DOCTYPE html><title>Sign in to Example</title>"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"status": 201}, True),
        ({"content_type": ""}, True),
        ({"content_type": "application/xhtml+xml"}, True),
        ({"status": 302}, False),
        ({"status": 404}, False),
        ({"content_type": "application/json"}, False),
        ({"content_type": "text/plain"}, False),
        # A browser that navigates asks for pages; a script does not.
        ({"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, False),
        ({"accept": "application/json, */*"}, True),
        # Files may be HTML; a page in place of one with another extension is not a file.
        ({"file": True, "path": "/a/report.html"}, False),
        ({"file": True, "path": "/a/README"}, False),
        ({"file": True, "path": "/a/model.pkl"}, True),
        ({"file": True, "path": "/a/MODEL.PKL", "content_type": ""}, False),
        ({"file": True, "path": "/a/model.pkl", "disposition": "attachment"}, False),
        ({"file": True, "path": "/get-artifact", "query": "?path=b%2Freport.html&x"}, False),
        ({"file": True, "path": "/get-artifact", "query": "?path=b%2Fmodel.pkl"}, True),
        ({"file": True, "path": "/files", "query": "artifact_file_path=b%2Fmodel.pkl"}, True),
    ],
)
def test_may_be_page(changes: dict[str, object], expected: bool) -> None:
    """Only successes that may be a login page are inspected."""
    arguments: dict[str, object] = {
        "status": 200,
        "content_type": "text/html; charset=utf-8",
        "disposition": "",
        "accept": "*/*",
        "file": False,
        "path": API,
        "query": "",
    }
    assert login.may_be_page(**(arguments | changes)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoding", "body", "no_page"),
    [
        ("", PAGE, False),
        ("", b"{}", True),
        ("", b"3.17.2", True),
        ("", b"", None),
        ("", b" \n", None),
        ("gzip", gzip.compress(PAGE), False),
        ("gzip", gzip.compress(b"{}"), True),
        ("gzip", gzip.compress(PAGE)[:10], None),
        ("br", b"\x01", False),
    ],
)
def test_is_no_page(encoding: str, body: bytes, no_page: bool | None) -> None:
    """Markup makes a page; if the beginning does not show it, the result is None."""
    assert login.is_no_page("text/html", encoding, body) is no_page


def redirect(
    location: str,
    path: str = API,
    *,
    base_path: str = "",
    file: bool = False,
    rules: Login = RULES.errors.login,
) -> str | None:
    return login.redirect_place(
        location,
        url=f"https://registry.example:443{base_path}{path}{'&' if '?' in path else '?'}run_id=1",
        base_path=base_path,
        stays=RULES.artifacts.has_files if file else RULES.is_api_path,
        file=file,
        rules=rules,
    )


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://idp.example/oauth2/v1/authorize?client_id=x&state=secret",
         "https://idp.example/oauth2/v1/authorize"),
        ("https://login.example/", "https://login.example/"),
        ("https://user:secret@sso.example:8443/x#secret", "https://sso.example:8443/x"),
        ("//accounts.example/o/oauth2/auth?x", "https://accounts.example/o/oauth2/auth"),
        ("/login?next=%2Fapi%2F2.0", "https://registry.example:443/login"),
        ("/oauth2/sign_in", "https://registry.example:443/oauth2/sign_in"),
        ("/", "https://registry.example:443/"),
        ("/api/auth/login", "https://registry.example:443/api/auth/login"),
        ("login", "https://registry.example:443/api/2.0/mlflow/runs/login"),
        ("https://elsewhere.example/maintenance.html", "https://elsewhere.example/maintenance.html"),
        ("https://idp.example/\x1b[1m" + "a" * 300, "https://idp.example/ [1m" + "a" * 175 + "…"),
        ("https://k.example/realms/m/protocol/openid-connect/auth?response_type=code",
         "https://k.example/realms/m/protocol/openid-connect/auth"),
    ],
)  # fmt: skip
def test_login_redirects(location: str, place: str) -> None:
    """A redirect that leaves the API is described by its place, without query and credentials."""
    assert redirect(location) == place
    if location[:1] == "/" and location[:2] != "//":
        assert redirect("/base" + location, base_path="/base") == place.replace(
            ":443/", ":443/base/"
        )


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (f"http://registry.example{API}?run_id=1", API),
        (f"https://new.example/mlops{API}", API),
        (API, API.replace("/runs", "//runs")),
        (f"{API}/", API),
        ("/api/2.0/mlflow/other?next=login", API),
        ("https://new.example/api/3.0/mlflow/runs/get", API),
        ("", API),
        ("http://[broken/login", API),
    ],
)
def test_redirects_that_stay_on_the_api(location: str, path: str) -> None:
    """A redirect to the same path elsewhere, or to another route of the API, passes."""
    assert redirect(location, path) is None
    assert redirect(f"/base{location}" if location[:1] == "/" else location, path,
                    base_path="/base") is None  # fmt: skip


@pytest.mark.parametrize(
    ("location", "path", "passes"),
    [
        # Signed URLs of S3, Google, Azure, Alibaba, Tencent, Swift and CloudFront.
        ("https://bucket.s3.example/login/0123?X-Amz-Date=x&X-Amz-Signature=x", FILE, True),
        ("https://bucket.s3.example/0123?AWSAccessKeyId=x&Expires=1&Signature=x", FILE, True),
        ("https://storage.example/0123?X-Goog-Signature=x", FILE, True),
        ("https://storage.example/0123?GoogleAccessId=x&Expires=1&Signature=x", FILE, True),
        ("https://a.blob.example/0123?sv=2024-01-01&se=x&sig=x%3D", FILE, True),
        ("https://b.oss.example/0123?x-oss-signature=x", FILE, True),
        ("https://b.cos.example/0123?q-sign-algorithm=sha1&q-signature=x", FILE, True),
        ("https://swift.example/0123?temp_url_sig=x&temp_url_expires=1", FILE, True),
        ("https://d1.cdn.example/0123?Policy=x&Signature=x&Key-Pair-Id=x", FILE, True),
        ("https://cdn.example/0123?X-Amz-Signature=", FILE, False),
        ("https://cdn.example/0123?Signature=x", FILE, False),
        ("https://cdn.example/0123?sig=x", FILE, False),
        ("https://idp.example/?x=X-Amz-Signature%3Dx", FILE, False),
        # The same file name.
        ("https://cdn.example/files/model.pkl", FILE, True),
        ("https://cdn.example/files/model%2epkl?v=1", FILE, True),
        ("https://cdn.example/files/a.model.pkl", FILE, False),
        ("https://portal.example/welcome?next=/model.pkl", FILE, False),
        ("https://portal.example/#/model.pkl", FILE, False),
        ("https://cdn.example/x/model.pkl", "/get-artifact?path=a%2Fmodel.pkl", True),
        ("https://cdn.example/x/model", "/get-artifact?path=a%2Fmodel.pkl", False),
        ("https://cdn.example/a.pkl", LOGGED + "?artifact_file_path=a.pkl", True),
        ("https://cdn.example/b.pkl", LOGGED + "?artifact_file_path=a.pkl", False),
        # Only the registry's own file routes, and not all of its routes.
        ("/ajax-api/2.0/mlflow-artifacts/artifacts/1/b/x", FILE, True),
        ("https://new.example/mlops" + LOGGED, FILE, True),
        ("/api/2.0/mlflow/users/current", FILE, False),
        ("/api/session", FILE, False),
        # Everything else.
        ("https://portal.example/welcome", FILE, False),
        ("https://portal.example", FILE, False),
        ("/", FILE, False),
        ("/welcome", FILE, False),
        ("https://auth.example/", FILE, False),
        ("https://auth.example/model.pkl", FILE, False),
        ("https://idp.example/saml2?SAMLRequest=x&SigAlg=x&Signature=x&Expires=1", FILE, False),
        ("/login?next=/x", FILE, False),
        ("https://registry.example/login", FILE.replace("model.pkl", "login"), False),
    ],
)
def test_redirects_of_files(location: str, path: str, passes: bool) -> None:
    """A redirect passes to an object store only: a page would be stored under the file's name."""
    assert (redirect(location, path, file=True) is None) is passes


@pytest.mark.parametrize(
    ("location", "file", "passes"),
    [
        ("https://store.example/0123", True, True),
        ("https://store.example/0123", False, True),
        # Store rules are checked before login rules.
        ("https://store.example/login", True, True),
        ("https://elsewhere.example/model.pkl", True, False),
        ("https://elsewhere.example/0123?X-Amz-Signature=x", True, False),
        (f"https://elsewhere.example{FILE}", True, False),
        # The registry itself, under a name that looks like a login page's.
        (f"https://registry.example:8443{FILE}", True, True),
    ],
)
def test_exceptions_for_redirects(location: str, file: bool, passes: bool) -> None:
    """The rules can name further stores and login pages."""
    stores, redirects = [r"^https://store\.example/"], ["elsewhere|registry|login"]
    rules = Login.model_validate({"stores": stores, "redirects": redirects})
    assert (redirect(location, FILE, file=file, rules=rules) is None) is passes


def test_message_for_the_client() -> None:
    """One sentence says what happened, where, and what to do."""
    rules = Login(status=403, error_code="CODE")
    redirected = login.convert_redirect(302, "https://idp.example/x", rules, file=False)
    assert redirected.status == 403
    content = json.loads(redirected.body or b"")
    assert content["error_code"] == "CODE"
    assert content["message"].startswith("The server asks for a login at https://idp.example/x")
    assert "errors.login.stores" not in content["message"]
    of_file = login.convert_redirect(302, "https://idp.example/x", rules, file=True)
    assert b"errors.login.stores" in (of_file.body or b"")
    page = login.convert_page(Answer(200, "text/html", "", PAGE, True), "/mlflow/api\x1b", rules)
    assert page is not None
    assert page.status == 403
    assert json.loads(page.body or b"")["message"] == (
        "The server answered 200 with a web page (Sign in to Example) in place of JSON, "
        "probably to ask for a login, at /mlflow/api?. Check the credentials of the client "
        "(MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)."
    )
    untitled = login.convert_page(Answer(200, "text/html", "br", b"\x01", True), "/", rules)
    assert untitled is not None
    assert "with a web page in" in json.loads(untitled.body or b"")["message"]
    assert login.convert_page(Answer(200, "text/html", "", b"{}", True), "/", rules) is None
