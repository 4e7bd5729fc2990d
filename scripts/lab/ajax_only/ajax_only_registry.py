"""MLflow's own server, without /api/: the embedded registry.

An app plugin of MLflow (https://mlflow.org/docs/latest/plugins.html): this folder on PYTHONPATH
and `mlflow server --app-name ajax-only` is all it takes. Requests to /api/ get the HTML 404 that
a registry gives which serves only /ajax-api/; everything else is MLflow.
"""

from typing import Any

from mlflow.server.fastapi_app import app as mlflow_app

NOT_FOUND = b"""<!doctype html>
<html lang=en>
<title>404 Not Found</title>
<h1>Not Found</h1>
<p>The requested URL was not found on the server. If you entered the URL manually please check \
your spelling and try again.</p>
"""


class AjaxOnly:
    """ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html). MLflow calls functions to get
    an application, hence a class."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        # MLflow ignores repeated leading slashes, so they must not bypass the 404.
        if scope["type"] != "http" or scope["path"].lstrip("/").split("/")[0] != "api":
            await mlflow_app(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass  # A client reads the answer once it has sent its body.
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(NOT_FOUND)).encode()),
        ]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": NOT_FOUND})


app = AjaxOnly()
