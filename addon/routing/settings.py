"""Everything that the hooks need from rules, environment and options, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..protocol.hosts import uri_host
from ..rules.filters import Filter, parse_request_filter
from ..rules.model import (
    OPERATIONS,
    Mount,
    Operation,
    Rules,
    Upstream,
)
from ..rules.rules_file import RulesError, load
from ..rules.values import is_plain_path
from . import gate
from .credentials import Credentials
from .mounts import OwnMounts
from .routes import Router


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force, for the upstream of the command line or for that of a mount."""

    rules: Rules
    switch: gate.Switch
    off: Mapping[Operation, str]
    """The operations on artifacts that are refused, each with the setting that refuses it."""
    allowed: frozenset[Operation]
    """The operations on artifacts that are allowed."""
    filters: dict[int, Filter]
    """Compiled filter expressions by the index of their rule."""
    router: Router = field(compare=False)
    credentials: Credentials = field(compare=False, repr=False)
    """What the proxy adds for registries."""
    mount: Mount | None = None
    """The mount whose own upstream they are for; None for the upstream of the command line."""
    own: OwnMounts | None = field(default=None, compare=False, repr=False)
    """All mounts with an upstream of their own; None if there are none."""

    @property
    def wary(self) -> bool:
        """Whether some operations, on artifacts or others, are not allowed."""
        return bool(self.off or self.rules.refused)

    def off_somewhere(self) -> str | None:
        """Return a setting that switches operations on artifacts off, here or at a mount."""
        found = (name for each in (self, *(self.own or ())) for name in each.off.values())
        return next(found, None)


BASE_PATH = "mlflow_base_path"
"""mitmproxy's option that overrides `upstream.base_path`."""


def read(path: Path, environment: str | None, option: str, base_path: str = "") -> Settings:
    """Read a rules file, and set the artifact switch.

    Args:
        path: the rules file.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.
        base_path: the value of mlflow_base_path, "" if it is not set.

    Raises:
        RulesError: one of them cannot be used.
    """
    rules = load(path)
    in_file = rules.mounts
    if base_path:
        if not is_plain_path(below := base_path.rstrip("/")):
            raise RulesError(f"{BASE_PATH}: {base_path!r}: expected a path such as /mlflow")
        upstream = rules.upstream.model_copy(update={"base_path": below})
        rules = rules.model_copy(update={"upstream": upstream, **_with_mount(rules, below)})
    switch = gate.switch(rules.artifacts.enabled, environment, option)
    off = gate.switched_off(rules.artifacts, switch)
    filters = {
        index: parse_request_filter(rule.filter)
        for index, rule in enumerate(rules.rewrites)
        if rule.filter
    }
    try:
        credentials = Credentials(rules.upstream)
    except ValueError as error:
        raise RulesError(f"{path}: {error}") from None
    own: dict[str, Settings] = {}
    found = Settings(
        rules=rules,
        switch=switch,
        off=off,
        allowed=frozenset(OPERATIONS) - off.keys(),
        filters=filters,
        router=Router(rules, artifacts_off=bool(off)),
        credentials=credentials,
        own=OwnMounts(in_file, own) if any(mount.upstream for mount in in_file) else None,
    )
    for index, mount in enumerate(in_file):
        if mount.upstream:
            own[mount.path] = _of_mount(found, index, mount)
    if not rules.artifacts.endpoints and (name := found.off_somewhere()):
        part = name.rpartition(".")[2] in OPERATIONS
        what = f"{name} is switched off" if part else f"{name} switches artifacts off"
        raise RulesError(
            f"{path}: artifacts.endpoints: []: expected the requests to refuse, because {what}; "
            "the shipped rules.yaml lists those of MLflow"
        )
    return found


def _of_mount(read: Settings, index: int, mount: Mount) -> Settings:
    """Return the settings for a mount with an upstream of its own.

    Args:
        read: the settings for the upstream of the command line.
        index: of the mount in the rules.
        mount: the mount.
    """
    upstream = read.rules.upstream.model_dump()
    upstream |= {"base_path": mount.base_path, "dialect": mount.dialect}
    if mount.dialect != "auto":
        upstream["external_hosts"] = []  # The mount's own key counts more than the list.
    changes = {
        "upstream": Upstream.model_validate(upstream),
        "mounts_longest_first": (mount.path,),
    }
    rules = read.rules.model_copy(update=changes)
    key = f"mounts[{index}].artifacts"
    switch = gate.Switch(mount.artifacts.enabled, f"{key}.enabled")
    # A mount can refuse more than the rest of the proxy, never less.
    off = {**gate.switched_off(mount.artifacts, switch, key), **read.off}
    return replace(
        read,
        rules=rules,
        off=off,
        allowed=frozenset(OPERATIONS) - off.keys(),
        router=Router(rules, artifacts_off=bool(off)),
        mount=mount,
    )


def _with_mount(rules: Rules, base_path: str) -> dict[str, Any]:
    """Return mounts with the base path among them: clients may use it or leave it out."""
    if any(mount.path == base_path for mount in rules.mounts):
        return {}
    mounts = [*rules.mounts, Mount(path=base_path)]
    longest_first = sorted((*rules.mounts_longest_first, base_path), key=len, reverse=True)
    return {"mounts": mounts, "mounts_longest_first": tuple(longest_first)}


def adapted(
    settings: Settings, address: tuple[str, int], *, is_ajax: bool, base_path: str
) -> Settings:
    """Return settings with the findings about one upstream; they are only for that upstream.

    Args:
        settings: the settings from `read`.
        address: host and port of the upstream.
        is_ajax: whether it serves only /ajax-api/.
        base_path: the path below which it serves, without a final slash.
    """
    upstream = settings.rules.upstream.model_dump()
    if is_ajax:
        host, port = address
        upstream["external_hosts"].append(f"{uri_host(host)}:{port}")
    changes: dict[str, Any] = {}
    if base_path and not upstream["base_path"]:
        upstream["base_path"] = base_path
        changes = {} if settings.mount else _with_mount(settings.rules, base_path)
    changes["upstream"] = Upstream.model_validate(upstream)
    rules = settings.rules.model_copy(update=changes)
    return replace(settings, rules=rules, router=Router(rules, artifacts_off=bool(settings.off)))
