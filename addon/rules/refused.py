"""The section `refused`: operations beyond artifacts that are not allowed here."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from .artifacts import Operation
from .patterns import below_any_prefix
from .section import Section
from .values import Method, Name, Regex

REGISTRY = "(preview/)?mlflow/(registered-models|model-versions|unity-catalog)"
"""The paths of the model registry, below the version of the API."""
_FAMILIES = {
    "registry": re.compile(rf"/(ajax-)?api/[^/]+/{REGISTRY}(/.*)?|/graphql/?"),
    # Everything else of MLflow's API, so that its next version adds nothing that passes.
    "tracking": re.compile(
        rf"/(ajax-)?api/[^/]+/(?!(mlflow-artifacts|{REGISTRY})(/|\Z)).*"
        r"|/graphql/?|/v1/(traces|metrics|logs)/?"
    ),
}


class RefusedOperation(Section):
    """Requests that are refused."""

    name: Name = Field(description="Shown in logs and messages.")
    family: Literal["tracking", "registry"] | None = Field(
        default=None,
        description="registry: registered models and their versions; tracking: all else but the "
        "artifact service.",
    )
    path: Regex | None = Field(
        default=None,
        description="In place of a family: regular expression for the whole path below the mount.",
    )
    operations: tuple[Operation, ...] = Field(
        default=(),
        strict=False,  # YAML has lists, but entries have to be hashable.
        description="What the refused requests do: read, write, delete; empty: all.",
    )
    methods: tuple[Method, ...] = Field(
        default=(),
        strict=False,
        description="HTTP methods that are refused; empty: all.",
    )
    status: Literal[403, 501, 503] = Field(default=403, description="Status of the refusal.")
    message: str = Field(
        default="This operation is switched off here. Please contact your administrator.",
        min_length=1,
        description="What the person reads.",
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> RefusedOperation:
        if (self.family is None) is (self.path is None):
            raise ValueError("expected either family or path")
        return self

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """Finds a refused path below any prefix."""
        return below_any_prefix(self.path or _FAMILIES[self.family or "tracking"])
