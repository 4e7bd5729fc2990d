"""Prints the routes of the installed MLflow, from its own tables: runs in MLflow's environment.

One JSON list of [method, path] per line; parameters are spelled as Flask or FastAPI spell them.
"""

import json
import tempfile
from os import environ

environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{tempfile.mkdtemp()}/routes.db"

from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as fastapi_app

routes = {
    (method, str(rule))
    for rule in flask_app.url_map.iter_rules()
    for method in rule.methods - {"HEAD", "OPTIONS"}
}
for path, operations in fastapi_app.openapi()["paths"].items():
    routes |= {(method.upper(), path) for method in operations}
for route in sorted(routes):
    print(json.dumps(route))
