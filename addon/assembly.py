"""Builds the addons, and gives each its collaborators.

mitmproxy calls their hooks in this order. Refusals come before anything that could fail: an
exception in a hook keeps mitmproxy from calling the addons after it.
"""

from __future__ import annotations

from typing import Any

from .engine import connections
from .hooks.body_times import BodyTimes
from .hooks.clients import Clients, WideReads
from .hooks.connected import Connected
from .hooks.dialects import Dialects
from .hooks.drain import Drain
from .hooks.for_engine import ForEngine
from .hooks.in_flight import InFlight
from .hooks.lean import Lean
from .hooks.loop_errors import LoopErrors
from .hooks.observers import Observers
from .hooks.own_answers import OwnAnswers
from .hooks.process import Ready, Setup, TrustedFiles
from .hooks.rules_in_force import CURRENT, RulesInForce
from .hooks.second_try import SecondTry
from .hooks.time_limits import TimeLimits
from .hooks.traffic import Traffic
from .mitmweb.commands import Commands
from .mitmweb.display import Display
from .observe.measured import State
from .registry.health_service import HealthService


def addons() -> list[Any]:
    """Return the addons for mitmproxy."""
    rules, health = RulesInForce(), HealthService()
    connected, dialects = Connected(), Dialects(rules, health)
    drain = Drain(rules, health, connected)
    health.first_answers = dialects.watch.all_answers
    time_limits, body_times, in_flight = TimeLimits(), BodyTimes(), InFlight()
    answers = OwnAnswers(rules, time_limits)
    observers, display = Observers(), Display()
    clients = Clients(rules, time_limits, body_times, connected, observers.count_refused)
    rules.followers = [clients.use, dialects.use]
    traffic = Traffic(
        rules=rules,
        dialects=dialects,
        second_try=SecondTry(dialects, time_limits),
        health=health,
        drain=drain,
        time_limits=time_limits,
        body_times=body_times,
        in_flight=in_flight,
        answers=answers,
    )
    for_engine = ForEngine(
        rules=rules,
        clients=clients,
        drain=drain,
        in_flight=in_flight,
        may_go=traffic.may_go,
        let_go=traffic.may_pass,
        goes_again=traffic.goes_again,
        refuse_to_hold=traffic.refuse_to_hold,
        own_reply=answers.to_error,
        refused=observers.refused,
        keeps_messages=display.is_on,
    )

    def state() -> State:
        limits = rules.settings.rules.limits if rules.settings else None
        return State(
            in_flight=in_flight.count(),
            flows_limit=limits.flows if limits else 0,
            draining=drain.begun,
            rules_current=rules.state == CURRENT,
            rules_read=rules.read_at,
            reloads=rules.reloads,
            readiness=health.readiness,
            client_connections=len(connections.handlers()),
            clients_limit=clients.limit.in_force,
            held=in_flight.held(),
            held_limit=limits.held if limits else 0,
            upstream_connections=connections.count_upstream(),
        )

    observers.state = state
    return [
        Setup(),
        TrustedFiles(),
        rules,
        clients,
        traffic,
        for_engine,
        display,
        observers,
        Commands(rules, dialects, health),
        LoopErrors(),
        Lean(),
        WideReads(),
        drain,
        dialects,
        Ready(rules),
    ]
