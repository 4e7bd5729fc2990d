"""Advice for people about an upstream's dialect, for each kind of answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from .dialect import (
    ABSENT,
    GUARDED,
    HTTPS,
    PAGES,
    SMALL,
    Finding,
    suggestion,
)

CREDENTIALS = "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"

_BY_THE_RULES = "set upstream.external_hosts (it serves only /ajax-api/) or upstream.dialect"

UNKNOWN = (
    "This proxy does not know yet whether the registry serves /api/ or only /ajax-api/. Its "
    f"operator can {_BY_THE_RULES} in the rules, or put credentials for the registry into its "
    f"environment ({CREDENTIALS})."
)
"""Added to a 404 that may have this cause."""

UNKNOWN_OF_MOUNT = (
    "This proxy does not know yet whether the registry of this mount serves /api/ or only "
    "/ajax-api/. Its operator can set the dialect of the mount in the rules."
)
"""The same for a mount with a registry of its own."""

_ADVICE = {
    GUARDED: f"{_BY_THE_RULES} in the rules, or put credentials into the environment of the proxy "
    f"({CREDENTIALS}); otherwise the first client with credentials settles it",
    PAGES: f"{_BY_THE_RULES} in the rules; otherwise the first client that gets through settles it",
    HTTPS: "start the proxy with https:// in place of http:// in front of it",
    ABSENT: "if it serves below a path, set upstream.base_path in the rules",
}

_ADVICE_OF_MOUNT = {
    GUARDED: "set the dialect of the mount in the rules, or add credentials for its host to "
    "upstream.credentials; otherwise the first client with credentials settles it",
    PAGES: "set the dialect of the mount in the rules; otherwise the first client that gets "
    "through settles it",
    HTTPS: "write https:// in place of http:// in the upstream of the mount",
    ABSENT: "if it serves below a path, add that to the upstream of the mount",
}


def advice(found: Finding, *, of_mount: bool = False) -> str:
    """Return what an operator can do about a dialect that is not clear; "" if only waiting helps.

    Args:
        found: a finding without a dialect.
        of_mount: whether it is about the registry of a mount.
    """
    by_reason = _ADVICE_OF_MOUNT if of_mount else _ADVICE
    said = [by_reason[found.reason]] if found.reason in by_reason else []
    if found.prefixes:
        places = " or ".join(found.prefixes)
        do = "add it to the upstream of the mount" if of_mount else "set upstream.base_path to it"
        said.append(f"clients ask below {places}: where MLflow is there, {do}")
    return "; ".join(said)


def report(found: Finding, url: str, *, authenticated: bool) -> list[str]:
    """Return the questions, the answers and the next steps, as lines.

    Args:
        found: the finding, from a thorough search.
        url: of the registry, without credentials.
        authenticated: whether credentials were sent.
    """
    lines = [url]
    lines += [f"  {place + SMALL.partition('?')[0]}  {said}" for place, said in found.answers]
    lines.append(f"finding: {found.reason}")
    host = urlsplit(url).netloc
    if found.dialect is None:
        return [*lines, *_next(found.reason, url, host, authenticated)]
    if rule := suggestion(found, host):
        return [
            *lines,
            "",
            "The proxy detects this. To set it in rules.yaml:",
            "",
            rule,
        ]
    return [*lines, "No rule is needed."]


def _next(reason: str, url: str, host: str, authenticated: bool) -> list[str]:
    again = f"  scripts/probe.sh --diagnose {url}"
    by_hand = [
        "If you know that it serves only /ajax-api/, write into rules.yaml:",
        "",
        f"upstream:\n  external_hosts: [{host}]",
    ]
    if reason == GUARDED and authenticated:
        return [
            "next: the credentials were refused. Check them in the environment "
            f"({CREDENTIALS}), and ask again:",
            again,
            *by_hand,
        ]
    if reason == GUARDED:
        return [
            f"next: ask again with credentials of a client in the environment ({CREDENTIALS}):",
            f"  MLFLOW_TRACKING_TOKEN=... {again.strip()}",
            "The proxy needs none: the first client with credentials tells it what it has to know.",
            *by_hand,
        ]
    if reason == PAGES:
        what = "other credentials" if authenticated else "credentials"
        return [
            f"next: if the page asks for a login, ask again with {what} in the environment "
            f"({CREDENTIALS}); if it is that of another application, with the path below which "
            "MLflow is:",
            f"{again}/PATH",
            *by_hand,
        ]
    if reason == HTTPS:
        secure = url.replace("http:", "https:", 1)
        return [
            f"next: use it by https, as the upstream of the proxy ({secure}), and ask again:",
            again.replace(url, secure),
        ]
    if reason == ABSENT:
        return [
            "next: find the path below which MLflow is, such as that of its pages in a browser, "
            "and ask again:",
            f"{again.removesuffix(urlsplit(url).path)}/PATH",
            "The answer has the upstream.base_path to write into rules.yaml.",
        ]
    return [
        "next: the registry has to answer first. Check its name and port, http or https, and "
        "whether it is up; a certificate of your own authority goes into "
        "MLFLOW_TRACKING_SERVER_CERT_PATH. Then ask again:",
        again,
    ]
