"""The section `errors`: how errors and login pages become JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Section
from .values import (
    ErrorCodeName,
    ErrorStatus,
    Method,
    Regex,
    Status,
    StatusKey,
    matches_status,
)


class Login(Section):
    """Login pages in place of an API's answer."""

    enabled: bool = Field(default=True, description="false lets login pages pass.")
    status: ErrorStatus = Field(default=401, description="Status of the error.")
    error_code: ErrorCodeName = Field(default="UNAUTHENTICATED", description="Its error_code.")
    redirects: list[Regex] = Field(
        default=[],
        description="Regular expressions, searched for in the URL of a redirect: login pages.",
    )
    stores: list[Regex] = Field(
        default=[],
        description="Regular expressions, searched for in the URL of a redirect: object stores.",
    )


class ErrorOverride(Section):
    """Errors of the upstream that get another status, error_code or message."""

    path: Regex | None = Field(
        default=None, description="Regular expression for the whole path below the mount."
    )
    methods: list[Method] = Field(default=[], description="HTTP methods; none named: all.")
    statuses: Annotated[list[Status], Field(min_length=1)] = Field(
        description="Statuses of the upstream, such as 500 or 5xx."
    )
    says: Regex | None = Field(
        default=None, description="Regular expression, searched for in the upstream's words."
    )
    bodies: Literal["any", "foreign"] = Field(
        default="any", description="foreign: only errors that are not MLflow's JSON already."
    )
    status: ErrorStatus | None = Field(default=None, description="Replaces the status.")
    error_code: ErrorCodeName | None = Field(default=None, description="Replaces the error_code.")
    message: str | None = Field(
        default=None, description="The message begins with it; the upstream's words follow."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> ErrorOverride:
        if self.status is None and self.error_code is None and self.message is None:
            raise ValueError("expected a status, an error_code or a message to send")
        return self


class Errors(Section):
    """How errors become JSON."""

    api_paths: list[Regex] = Field(
        default=[], description="Regular expressions for whole paths below the mount."
    )
    vocabulary: Literal["default", "mlflow"] = Field(
        default="default",
        description="mlflow: ENDPOINT_NOT_FOUND or RESOURCE_DOES_NOT_EXIST, which the client "
        "knows, in place of RESOURCE_NOT_FOUND.",
    )
    codes: dict[StatusKey, ErrorCodeName] = Field(
        default={}, description="error_code by HTTP status; 4xx and 5xx stand for the rest."
    )
    overrides: list[ErrorOverride] = Field(
        default=[], description="Exceptions; the first match counts."
    )
    login: Login = Login()

    def code(self, status: int, *, file: bool = False) -> str:
        """Return the error_code for an HTTP status >= 400.

        Args:
            status: the HTTP status.
            file: whether the request is for a file; a missing file and a missing route have
                different codes in MLflow's vocabulary.
        """
        code = (
            self.codes.get(str(status))
            or self.codes.get(f"{status // 100}xx")
            or ("INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST")
        )
        if self.vocabulary == "mlflow" and code == "RESOURCE_NOT_FOUND":
            return "RESOURCE_DOES_NOT_EXIST" if file else "ENDPOINT_NOT_FOUND"
        return code

    def override(
        self, *, method: str, paths: Sequence[str], status: int, words: str, foreign: bool
    ) -> ErrorOverride | None:
        """Return the exception that applies to an upstream's error, if any.

        Args:
            method: HTTP method of the request.
            paths: the paths (decoded, below the mount) of the request here and upstream.
            status: of the upstream.
            words: the upstream's message.
            foreign: whether the body is not MLflow's JSON.
        """
        for override in self.overrides:
            if (
                matches_status(status, override.statuses)
                and (foreign or override.bodies == "any")
                and (not override.methods or method in override.methods)
                and (override.path is None or any(map(override.path.fullmatch, paths)))
                and (override.says is None or override.says.search(words))
            ):
                return override
        return None
