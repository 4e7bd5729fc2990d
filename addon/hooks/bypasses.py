"""mitmproxy options under which requests would get past the artifact switch and `refused`.

Both judge requests, also after other addons have changed them. They cannot judge bytes that
mitmproxy forwards unread, so such an option excludes both. mitmproxy decides
in mitmproxy/addons/next_layer.py which connections it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mitmproxy.proxy.mode_specs import (
    DnsMode,
    ProxyMode,
    RegularMode,
    ReverseMode,
    Socks5Mode,
    TransparentMode,
    UpstreamMode,
)

from ..routing.settings import Settings
from ..rules.rules_file import RulesError

_UNREAD = {
    "ignore_hosts": "connections to these hosts pass unread",
    "allow_hosts": "connections to all other hosts pass unread",
    "server_replay": "recorded answers take the place of refusals",
}
_LATE = {
    "map_remote": "it changes requests after they were admitted",
    "modify_body": "it changes requests after they were admitted",
    "modify_headers": "it changes requests after they were admitted",
    "stream_large_bodies": "the bodies of GraphQL requests are not checked",
}
"""In modes other than reverse, requests are not judged again before they go upstream."""
OPTIONS = frozenset({*_UNREAD, *_LATE, "mode", "rawtcp", "tcp_hosts", "validate_inbound_headers"})
"""The names of all options checked here."""


def check(settings: Settings, options: Mapping[str, Any]) -> None:
    """Refuse options that conflict with the settings.

    Args:
        settings: the settings about to come into force.
        options: the values of those `OPTIONS` that this mitmproxy has.

    Raises:
        RulesError: an operation is switched off or refused, and an option bypasses that.
    """
    refused = _refused(settings)
    if refused is not None and (found := find(options)) is not None:
        name, value, why = found
        raise RulesError(f"{name}: {value}: {why}{refused}: requests for them would get through")


def find(options: Mapping[str, Any]) -> tuple[str, Any, str] | None:
    """Return an option that bypasses the switch: its name, its value, and how it does that.

    A forward proxy serves the hosts that the rules list, and reads what looks like HTTP. With
    `rawtcp`, a connection that starts with fewer than three bytes does not look like HTTP.
    mitmproxy forwards UDP unread unless it takes it for QUIC.
    """
    for name, why in _UNREAD.items():
        if value := options.get(name):
            return name, value, why
    if not options.get("validate_inbound_headers", True):
        return "validate_inbound_headers", False, "a request may hide in the body of another one"
    modes = [ProxyMode.parse(spec) for spec in options.get("mode", ())]
    reverse = [mode for mode in modes if isinstance(mode, ReverseMode) and "http" in mode.scheme]
    others = [mode for mode in modes if mode not in reverse and not _is_dns(mode)]
    for mode in others:
        if not isinstance(mode, RegularMode | UpstreamMode | Socks5Mode | TransparentMode):
            return "mode", mode.full_spec, "not all traffic there is read as HTTP"
        if reverse:
            why = f"beside {reverse[0].full_spec} it reaches the same registry by any other name"
            return "mode", mode.full_spec, why
    if others and options.get("rawtcp"):
        why = f"in mode {others[0].full_spec} traffic that does not look like HTTP passes unread"
        return "rawtcp", True, why
    for name, why in _LATE.items():
        if others and (value := options.get(name)):
            return name, value, f"in mode {others[0].full_spec} {why}"
    if others and (value := options.get("tcp_hosts")):
        return "tcp_hosts", value, "connections to these hosts pass unread"
    return None


def _is_dns(mode: ProxyMode) -> bool:
    return isinstance(mode, DnsMode) or (isinstance(mode, ReverseMode) and mode.scheme == "dns")


def _refused(settings: Settings) -> str | None:
    """Return what is switched off, and the setting that does it; None if nothing is."""
    if (off := settings.off_somewhere()) is not None:
        return f", and artifacts are switched off ({off})"
    refused = settings.rules.refused
    return f", and operations are refused (refused: {refused[0].name})" if refused else None
