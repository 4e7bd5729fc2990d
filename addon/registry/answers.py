"""An answer of the registry, and what it says by its status, its type and its first bytes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ..protocol import to_https
from ..protocol.bodies import is_json
from ..routing.gate import DISABLED

_CODE = re.compile(r"[\w.-]{1,63}", re.ASCII)
# MLflow's messages on routes that are off (mlflow/server/handlers.py, artifact_router.py).
_SWITCHED_OFF = re.compile(
    rb"server running (?:with|in) `(--no-serve-artifacts|--artifacts-only)`"
    rb"|Artifact serving is disabled\. Run `mlflow server` with `--serve-artifacts`"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a probe; `error` in place of a status if there was none."""

    status: int | None
    content_type: str = ""
    body: bytes = b""
    location: str = ""
    """The target of a redirect."""
    error: str = ""


def https_required(secure: str) -> Answer:
    """Return the proxy's answer in place of a redirect to https (see `to_https`).

    Args:
        secure: the URL that is required.
    """
    return Answer(to_https.STATUS, "application/json", to_https.error(secure))


def is_html(answer: Answer) -> bool:
    """Return whether an answer is a page."""
    # /version answers with plain text as text/html: only markup is a page.
    return answer.body.lstrip()[:1] == b"<"


def is_json_answer(answer: Answer) -> bool:
    """Return whether an answer is JSON by its Content-Type and by its body."""
    return is_json(answer.content_type) and answer.body.lstrip()[:1] in (b"{", b"[")


def switched_off(answer: Answer) -> str:
    """Return that a route is off on purpose, here or in the registry; "" if it is not."""
    if answer.status is None or answer.status < 400:
        return ""
    if found := _SWITCHED_OFF.search(answer.body):
        option = found[1].decode() if found[1] else "--no-serve-artifacts"
        return f"disabled: the registry runs with {option}"
    return "disabled" if error_code(answer) == DISABLED else ""


def error_code(answer: Answer) -> str:
    """Return the error_code of an answer in MLflow's form, "" if it has none."""
    if not is_json(answer.content_type):
        return ""
    try:
        code = json.loads(answer.body)["error_code"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
