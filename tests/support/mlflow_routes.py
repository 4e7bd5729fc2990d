"""Prints the routes of the installed MLflow, from its own tables; runs in MLflow's environment.

Each line is a JSON list, [method, path, signs]; parameters are spelled as in Flask or FastAPI.
Signs are names for uploads and downloads in the code of a handler, and in that of the server's
functions that it calls.
"""

import inspect
import json
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from os import environ
from typing import Any

environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{tempfile.mkdtemp()}/routes.db"

from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as fastapi_app

SIGNS = {
    *("UploadFile", "File", "Form", "form", "files", "stream", "get_data", "body"),
    *("FileResponse", "StreamingResponse", "send_file", "send_from_directory"),
}


def signs_of(function: Callable[..., Any], seen: set[Any]) -> set[str]:
    """Return the signs in a function and in all server functions that it names."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None or code in seen or not function.__module__.startswith("mlflow.server"):
        return set()
    seen.add(code)
    names: set[str] = set()
    codes = [code]
    while codes:
        inner = codes.pop()
        names |= set(inner.co_names)
        codes += [value for value in inner.co_consts if isinstance(value, types.CodeType)]
    named = [function.__globals__.get(name) for name in names]
    named += [cell.cell_contents for cell in function.__closure__ or ()]
    found = names & SIGNS
    for other in named:
        if isinstance(other, types.FunctionType):
            found |= signs_of(other, seen)
    return found


def handlers(routes: Iterable[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield FastAPI's handlers by name; newer versions nest those of routers."""
    for route in routes:
        if inner := getattr(route, "original_router", None):
            yield from handlers(inner.routes)
        elif hasattr(route, "endpoint"):
            yield route.name, route.endpoint


routes = {
    (method, str(rule)): signs_of(flask_app.view_functions[rule.endpoint], set())
    for rule in flask_app.url_map.iter_rules()
    for method in rule.methods - {"HEAD", "OPTIONS"}
}
by_name = dict(handlers(fastapi_app.routes))
for path, operations in fastapi_app.openapi()["paths"].items():
    for method, operation in operations.items():
        # FastAPI builds the operation's ID from the function's name and the path.
        named = [name for name in by_name if operation["operationId"].startswith(f"{name}_")]
        assert named, operation["operationId"]
        signs = signs_of(by_name[max(named, key=len)], set())
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
            signs.add("multipart/form-data")
        routes[method.upper(), path] = signs
for (method, path), signs in sorted(routes.items()):
    print(json.dumps([method, path, sorted(signs)]))
