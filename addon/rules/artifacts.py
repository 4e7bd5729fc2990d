"""The section `artifacts`: the switch, and the requests that it covers."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal, get_args

from pydantic import Field

from ..protocol.target import api_index
from .patterns import below_any_prefix, found
from .section import Section
from .values import Method, Name, Regex

Operation = Literal["read", "write", "delete"]
"""The effect of a request on artifacts."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Endpoint(Section):
    """Requests that the artifact switch covers."""

    path: Regex = Field(description="Regular expression for the whole path below the mount.")
    operation: Operation | None = Field(
        default=None,
        description="What the request does; default: by method (GET, HEAD and OPTIONS read, DELETE "
        "deletes, all others write).",
    )
    methods: tuple[Method, ...] = Field(
        default=(),
        strict=False,  # YAML has lists, but endpoints have to be hashable.
        description="HTTP methods that count; empty: all.",
    )
    files: bool = Field(
        default=False,
        description="The bodies are the files themselves, so HTML among them is no error.",
    )
    graphql_field: Name | None = Field(
        default=None, description="Only GraphQL documents that name this field count."
    )


class ArtifactSwitch(Section):
    """The positions of the artifact switch."""

    enabled: bool = Field(default=True, description="false refuses artifact requests.")
    read: bool = Field(default=True, description="false refuses downloads and listings.")
    write: bool = Field(
        default=True, description="false refuses uploads and deletions: a read-only registry."
    )
    delete: bool = Field(default=True, description="false refuses deletions.")


class Artifacts(ArtifactSwitch):
    """The artifact switch."""

    disabled_status: Literal[403, 501, 503] = Field(
        default=503,
        description="Status of a refusal. MLflow's client shows the message of a 501 or 403 at "
        "once and repeats a 503 for some seconds.",
    )
    endpoints: list[Endpoint] = Field(
        default=[], description="The requests that count as artifact requests."
    )

    @cached_property
    def _paths(self) -> list[tuple[Endpoint, re.Pattern[str]]]:
        return [(endpoint, below_any_prefix(endpoint.path)) for endpoint in self.endpoints]

    def matching(self, path: str, last: int) -> list[Endpoint]:
        """Return the endpoints that a path (decoded, below the mount) may lead to.

        MLflow may be served below a prefix that we do not know, so the path is matched from each of
        its slashes on. Of the endpoints that match from the same slash, the first counts.

        Args:
            path: the path.
            last: the last index at which a route can begin (see `target.last_root`).
        """
        by_start: dict[int, Endpoint] = {}
        for endpoint, anywhere in self._paths:
            if (start := found(anywhere, path, last)) is not None:
                by_start.setdefault(start, endpoint)
        return [*by_start.values()]

    def has_files(self, path: str) -> bool:
        """Return whether files are served at a path (decoded, below the mount)."""
        forms = {path, path[api_index(path) :]}
        return any(e.files and e.path.fullmatch(form) for e in self.endpoints for form in forms)
