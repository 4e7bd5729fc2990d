"""Options of mitmproxy that would bypass the artifact switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from addon.hooks import bypasses
from addon.routing import settings
from addon.rules.rules_file import DEFAULT_PATH, RulesError

REVERSE = ["reverse:https://registry.example"]
DEFAULTS: dict[str, Any] = {
    "allow_hosts": [],
    "ignore_hosts": [],
    "map_remote": [],
    "mode": REVERSE,
    "modify_body": [],
    "modify_headers": [],
    "rawtcp": True,
    "server_replay": [],
    "stream_large_bodies": None,
    "tcp_hosts": [],
    "validate_inbound_headers": True,
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": ["reverse:http://a", "reverse:https://b:8443/@9000", "reverse:http3://c@9001"]},
        {"mode": [*REVERSE, "dns", "reverse:dns://9.9.9.9@5353"]},
        # No registry is reached over UDP in these modes, and TCP is always read as HTTP.
        {"tcp_hosts": ["registry"], "rawtcp": True},
        {"mode": ["regular"], "rawtcp": False},
        # In reverse mode requests are judged in their final form.
        {"map_remote": ["|a|b"], "stream_large_bodies": "1m", "modify_headers": ["/a/b"]},
        {"mode": ["upstream:http://proxy:3128", "socks5@1080"], "rawtcp": False},
        {"mode": ["transparent"], "rawtcp": False},
    ],
)
def test_harmless_options(options: dict[str, Any]) -> None:
    """These options keep all traffic in the HTTP layer, where it is judged."""
    assert set(DEFAULTS) == bypasses.OPTIONS
    assert bypasses.find(DEFAULTS | options) is None


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"ignore_hosts": ["a"]}, "ignore_hosts", ["a"]),
        ({"allow_hosts": ["a"]}, "allow_hosts", ["a"]),
        ({"server_replay": ["flows"]}, "server_replay", ["flows"]),
        ({"validate_inbound_headers": False}, "validate_inbound_headers", False),
        ({"mode": [*REVERSE, "regular@8081"]}, "mode", "regular@8081"),
        ({"mode": ["regular@8081"]}, "rawtcp", True),
        ({"mode": ["socks5"], "rawtcp": False, "tcp_hosts": ["a"]}, "tcp_hosts", ["a"]),
        *(
            ({"mode": [*REVERSE, mode], "rawtcp": False}, "mode", mode)
            for mode in (
                *("reverse:tcp://registry.example:80@8081", "reverse:tls://a:443@8081"),
                *("reverse:udp://a:443@8081", "reverse:quic://a@8081", "reverse:dtls://a:443@8081"),
                *("wireguard", "local:curl", "tun", "socks5@1080", "upstream:http://a@8081"),
            )
        ),
        ({"mode": ["local"], "rawtcp": False}, "mode", "local"),
        *(
            ({"mode": ["regular"], "rawtcp": False, name: value}, name, value)
            for name, value in (
                *(("map_remote", ["|a|b"]), ("modify_body", ["|a|b"])),
                *(("modify_headers", ["|a|b"]), ("stream_large_bodies", "1m")),
            )
        ),
    ],
)
def test_options_that_bypass_the_switch(options: dict[str, Any], name: str, value: object) -> None:
    """Each of these options lets traffic pass that is never judged."""
    found = bypasses.find(DEFAULTS | options)
    assert found is not None
    assert found[:2] == (name, value)


@pytest.mark.parametrize(
    ("artifacts", "option", "said"),
    [
        ({"enabled": False}, "", "artifacts.enabled"),
        ({"read": False}, "", "artifacts.read"),
        ({"write": False}, "", "artifacts.write"),
        ({"delete": False}, "", "artifacts.delete"),
        ({}, "off", "mlflow_serve_artifacts"),
        ({}, "", None),
        ({"enabled": False}, "on", None),
    ],
)
def test_options_are_refused_while_something_is_off(
    tmp_path: Path, artifacts: dict[str, bool], option: str, said: str | None
) -> None:
    """The message names the switch. While everything is on, these options are allowed."""
    rules = yaml.safe_load(DEFAULT_PATH.read_text())
    rules["artifacts"].update(artifacts)
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    in_force = settings.read(file, None, option)
    if said is None:
        bypasses.check(in_force, {"ignore_hosts": ["a"]})
        return
    bypasses.check(in_force, {"ignore_hosts": []})
    with pytest.raises(RulesError) as refused:
        bypasses.check(in_force, {"ignore_hosts": ["a"]})
    assert str(refused.value) == (
        "ignore_hosts: ['a']: connections to these hosts pass unread, and artifacts are "
        f"switched off ({said}): requests for them would get through"
    )


def test_while_operations_are_refused(tmp_path: Path) -> None:
    """The message names an entry of `refused`."""
    file = tmp_path / "rules.yaml"
    file.write_text("refused: [{name: no-deletions, family: tracking}]")
    with pytest.raises(RulesError) as refused:
        bypasses.check(settings.read(file, None, ""), {"ignore_hosts": ["a"]})
    assert str(refused.value) == (
        "ignore_hosts: ['a']: connections to these hosts pass unread, and operations are refused "
        "(refused: no-deletions): requests for them would get through"
    )
