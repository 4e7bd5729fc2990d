"""MLflow's own server, with a header that names the operation that a request reached.

App plugins of MLflow (https://mlflow.org/docs/latest/plugins.html): this folder on PYTHONPATH and
`mlflow server --app-name reporting` (uvicorn) or `reporting-flask` (gunicorn).
"""

from typing import Any

import flask
from mlflow.server import app as flask_app

HEADER = "X-Reached"


def report(response: flask.Response) -> flask.Response:
    """Name the route that Flask chose."""
    if flask.request.url_rule is not None:
        response.headers[HEADER] = flask.request.url_rule.rule
    return response


flask_app.after_request(report)


class Reporting:
    """The ASGI application with its native routes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; name the route that FastAPI chose."""
        from mlflow.server.fastapi_app import app

        async def reporting_send(message: Any) -> None:
            route = getattr(scope.get("route"), "path", "")
            if message["type"] == "http.response.start" and route:
                message["headers"] = [*message["headers"], (HEADER.encode(), route.encode())]
            await send(message)

        await app(scope, receive, reporting_send)


app = Reporting()
