"""The section `mounts`: public paths, and the registries of those that have their own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from ..protocol.hosts import DEFAULT_PORTS
from .artifacts import ArtifactSwitch
from .section import Section
from .values import PathPrefix, is_plain_path

UNSHOWN = "unshown"
"""The type of an error whose value may contain a secret: the message must not repeat it."""

MOST = 100
"""Mounts, at most: each may have series of its own in the metrics."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)


def _upstream_url(value: str) -> str:
    if not set("@?#").isdisjoint(value):
        raise PydanticCustomError(
            UNSHOWN, "expected a URL without user, password, query and fragment"
        )
    match = _URL.fullmatch(value)
    if (
        match is None
        or not 0 < int(match["port"] or 80) < 65536
        or not is_plain_path((match["path"] or "").removesuffix("/"))
    ):
        raise ValueError("expected a URL such as https://registry.example.org/mlflow")
    return value.removesuffix("/")


UpstreamUrl = Annotated[str, AfterValidator(_upstream_url)]


class Mount(Section):
    """A public path under which all of MLflow is served; in the file it may be the path alone."""

    path: PathPrefix = Field(description="The public path.")
    upstream: UpstreamUrl | None = Field(
        default=None,
        description="URL of its own registry; a path there is the base path. Without it, the "
        "mount leads to the upstream of the command line.",
    )
    dialect: Literal["auto", "standard", "ajax"] = Field(
        default="auto", description="API of its registry, see upstream.dialect."
    )
    artifacts: ArtifactSwitch = Field(
        default=ArtifactSwitch(),
        description="Its switch; it can only be stricter than that of the whole proxy.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": value}
        if not isinstance(value, dict | Mount):
            raise ValueError("expected a path such as /mlflow, or a mapping with path and upstream")
        return value

    @model_validator(mode="after")
    def _has_a_registry(self) -> Mount:
        if self.upstream is None and self.model_fields_set - {"path"}:
            raise ValueError("expected an upstream as well, for which the other keys are")
        if self.upstream is not None and not self.path:
            raise ValueError(
                "path: '/': expected a path below the root, which is for the upstream of the "
                "command line"
            )
        return self

    @model_serializer(mode="wrap")
    def _to_path(self, handler: SerializerFunctionWrapHandler) -> Any:
        return handler(self) if self.upstream else str(self)

    def __str__(self) -> str:
        return self.path or "/"

    @property
    def scheme(self) -> str:
        """The scheme of its own upstream, "http" or "https"."""
        return self._url["scheme"]

    @property
    def address(self) -> tuple[str, int]:
        """Host (without brackets, lower-case) and TCP port of its own upstream."""
        url = self._url
        return (url["v6"] or url["name"]).lower(), int(url["port"] or DEFAULT_PORTS[url["scheme"]])

    @property
    def base_path(self) -> str:
        """The prefix of every path for its own upstream; no final slash."""
        return self._url["path"] or ""

    @property
    def _url(self) -> re.Match[str]:
        if (match := _URL.fullmatch(self.upstream or "")) is None:
            raise RuntimeError(f"mount {self} has no upstream of its own")
        return match

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON Schema: a path alone, or a mapping."""
        schema = handler(core_schema)
        definition = handler.resolve_ref_schema(schema)
        mapping = dict(definition)
        definition.clear()
        definition["anyOf"] = [{"type": "string"}, mapping]
        return schema
