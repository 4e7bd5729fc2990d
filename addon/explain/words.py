"""Explains step by step, in words, what happens to a request and why.

Nothing is decided here: the steps describe decisions that `question` got from the functions that
the hooks use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors.replies import Reply
from ..protocol import bodies
from ..protocol.hosts import uri_host
from ..protocol.target import shown
from ..routing import gate, operations
from ..routing.admission import Refused
from ..routing.flow_state import FlowState
from ..routing.operations import Concerned
from ..routing.rewrite import Origin
from ..routing.routes import Route
from ..routing.settings import Settings
from ..rules.model import (
    OPERATIONS,
    Mount,
    Operation,
    RewriteRule,
    Rules,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A request without a body, and its upstream."""

    method: str
    url: str
    """As the client sends it to the proxy, or only its path."""
    upstream: Origin
    known: str = ""
    """More about the upstream than in the settings, for people."""
    headers: Sequence[tuple[str, str]] = ()
    reverse: bool = True
    """Whether the proxy is in reverse mode: the client treats it as the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question, and the decisions about it."""

    settings: Settings
    question: Question
    methods: Sequence[str]
    """The methods that a server may use (see `gate.methods`)."""
    concerned: bool
    """Whether it is a request for MLflow."""
    own: bool
    """Whether the proxy itself answers it."""
    named: bool
    """Whether the question names the host that the client asks for."""
    route: Route
    applicable: Sequence[int]
    """The indices of the rewrite rules for this upstream whose filters hold."""
    state: FlowState
    authorization: bool
    """Whether it has an Authorization header."""
    refused: Refused | None
    """The answer, if it is refused."""
    sent: str
    """The path that goes upstream."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps and the result."""

    steps: tuple[tuple[str, str], ...]
    """Pairs of a subject and a text about it."""
    rule: str | None
    """Name of the rule that rewrites the path."""
    sent: str | None
    """The path that goes upstream; None if the proxy answers."""
    status: int | None
    """HTTP status of the proxy's own error or redirect; None if there is none."""
    error_code: str | None

    def lines(self) -> list[str]:
        """Return the steps as lines for people."""
        return [f"{subject:10}{says}" for subject, says in self.steps]


def explain(case: Case) -> Explanation:
    """Describe the decisions in words."""
    error = case.refused and case.refused.reply
    rule = case.route.rule if case.concerned else None
    return Explanation(
        steps=tuple(_steps(case)),
        rule=rule,
        sent=None if error or case.own else case.sent,
        status=error.status if error else None,
        error_code=_error_code(error) if error else None,
    )


def _steps(case: Case) -> Iterator[tuple[str, str]]:
    rules, route, upstream = case.settings.rules, case.route, case.question.upstream
    external = rules.upstream.is_external(upstream.host, upstream.port)
    serves = "external, serves only /ajax-api/" if external else "internal, serves /api/"
    known = f" ({case.question.known})" if case.question.known else ""
    of = f" of mount {case.settings.mount}" if case.settings.mount else ""
    yield "upstream", f"{uri_host(upstream.host)}:{upstream.port}{of}: {serves}{known}"
    if not case.concerned:
        yield "result", "passed on as it is: a forward proxy touches only external hosts"
        return
    if route.target is None:
        yield "mount", f"none of {', '.join(map(str, rules.mounts))} covers the path"
    else:
        yield "mount", route.target.mount or "/"
        yield "path", f"{bodies.printable(shown(route.target.path))} ({_family(case)})"
        if route.problem:
            yield "path", f"ambiguous: it contains {route.problem}"
        elif not case.own:
            if rules.allowed_hosts and not case.named:
                yield "host", f"must be one of {', '.join(map(str, rules.allowed_hosts))}"
            for text in _rules(case):
                yield "rule", text
            for text in _gate(case):
                yield "artifacts", text
            for text in dict.fromkeys(_operation(case, entry) for entry in route.refused):
                yield "refused", text
            for text in _login(case):
                yield "login", text
    yield "result", _result(case)


def _family(case: Case) -> str:
    route = case.route
    if case.own:
        return "a path of the proxy's own"
    if any(gate.counts(method, e) for e in route.endpoints for method in case.methods):
        return "artifacts"
    return "API: errors are JSON" if route.api else "no API: answers pass as they are"


def _rules(case: Case) -> Iterator[str]:
    rewrites, winner = case.settings.rules.rewrites, case.route.rule
    for index, rule in enumerate(rewrites):
        if rule.name == winner:
            yield f"{rule.name}: rewrites {rule.match.pattern} to {rule.replace}"
            return
        yield f"{rule.name}: no, {_why_not(case, index, rule)}"
    yield "none: the path stays as it is"


def _why_not(case: Case, index: int, rule: RewriteRule) -> str:
    upstream = case.question.upstream
    if index not in case.settings.router.applicable(upstream.host, upstream.port):
        return f"it is for {_upstreams(rule)}"
    if index not in case.applicable:
        return f"its filter {rule.filter} does not hold"
    return f"the path does not begin like {rule.match.pattern}"


def _upstreams(rule: RewriteRule) -> str:
    if isinstance(rule.upstream, list):
        return " and ".join(rule.upstream) or "no host"
    return f"{rule.upstream} upstreams"


def _gate(case: Case) -> Iterator[str]:
    found = [
        gate.operation(method, endpoint)
        for endpoint in case.route.endpoints
        for method in case.methods
        if gate.counts(method, endpoint)
    ]
    if not found:
        yield "not concerned"
    for operation in dict.fromkeys(found):
        yield f"{operation}: {position(case.settings, operation)}"
    if fields := case.state.graphql_fields:
        yield f"only if its body names {' or '.join(fields)}, or cannot be read"


def _operation(case: Case, concerned: Concerned) -> str:
    entry = concerned.entry
    concerns = ", ".join((*entry.operations, *entry.methods)) or "every request"
    refuses = operations.refusing([concerned], case.methods) is not None
    return f"{entry.name}: {'yes' if refuses else 'no'}, it refuses {concerns}"


def _login(case: Case) -> Iterator[str]:
    config, upstream = case.settings.rules.upstream, case.question.upstream
    entry = config.credential(upstream.host, upstream.port)
    if case.state.authorization and entry is not None:
        source = entry.file or f"the environment variable {entry.env}"
        yield f"credentials: added ({entry.scheme}, from {source})"
    elif entry is not None and case.authorization:
        yield "credentials: the client's own pass, those of the proxy are not added"
    elif entry is not None:
        yield "credentials: none are added to this method, or for pages of other sites"
    elif config.credentials:
        yield "credentials: none are listed for this upstream"


def position(settings: Settings, operation: Operation) -> str:
    """Return whether an operation on artifacts is allowed, otherwise what forbids it."""
    off = settings.off.get(operation)
    return f"switched off by {off}" if off else "allowed"


def _result(case: Case) -> str:
    if case.refused is not None:
        reply = case.refused.reply
        code = _error_code(reply)
        return f"answered {reply.status}{f' {code}' if code else ''}: {case.refused.why}"
    if case.own:
        return "answered by the proxy itself"
    return f"sent upstream: {case.question.method} {shown(case.sent)}"


def _error_code(reply: Reply) -> str | None:
    """Return the error_code of a refusal; None for a redirect."""
    code: str | None = json.loads(reply.body)["error_code"] if reply.body else None
    return code


def summary(settings: Settings, *, source: str, found: Sequence[str] = ()) -> list[str]:
    """Return the rules in force, in short.

    Args:
        settings: the settings in force.
        source: the rules file.
        found: the findings about upstreams, a line for each.
    """
    rules = settings.rules
    lines = [
        ("rules", source),
        ("mounts", ", ".join(map(_mount, rules.mounts))),
        ("hosts", ", ".join(map(str, rules.allowed_hosts)) or "all"),
        ("external", ", ".join(rules.upstream.external_hosts) or "none listed"),
        ("others", rules.upstream.dialect),
        ("base path", rules.upstream.base_path or "none"),
        *(("found", line) for line in found),
        *(("rewrite", _in_short(rule)) for rule in rules.rewrites),
        *(("artifacts", f"{name}: {position(settings, name)}") for name in OPERATIONS),
        *(
            ("artifacts", f"{name} below {each.mount}: {position(each, name)}")
            for each in settings.own or ()
            for name in each.off
            if name not in settings.off
        ),
        *(("refused", entry.name) for entry in rules.refused),
    ]
    return [f"{subject:10}{says}" for subject, says in lines]


def _mount(mount: Mount) -> str:
    return f"{mount} ({mount.upstream})" if mount.upstream else str(mount)


def _in_short(rule: RewriteRule) -> str:
    condition = f" if {rule.filter}" if rule.filter else ""
    return f"{rule.name} ({_upstreams(rule)}{condition}): {rule.match.pattern} -> {rule.replace}"


def counts(rules: Rules) -> str:
    """Return how many rules of each kind there are, in words."""
    numbers = {
        "rewrite": len(rules.rewrites),
        "artifact endpoint": len(rules.artifacts.endpoints),
        "refused operation": len(rules.refused),
        "error override": len(rules.errors.overrides),
        "probe": len(rules.health.probes),
    }
    return ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in numbers.items())
