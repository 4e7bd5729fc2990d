"""When upstreams are asked for their dialects, and how the answers are used."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from addon.registry import dialect_watch
from addon.registry.answers import Answer
from addon.registry.dialect import Finding
from addon.registry.dialect_watch import Address, DialectWatch

SERVED = Answer(200, "application/json", b"{}")
ABSENT = Answer(404)
DOWN = Answer(None, error="no connection")
HERE: Address = ("here", 80)
THERE: Address = ("there", 80)


class Upstream:
    """Answers unless it is held up; serves one prefix."""

    def __init__(self, prefix: str | None = "/api") -> None:
        self.prefix = prefix
        """None if it cannot be reached."""
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, path: str) -> Answer:
        self.asked += 1
        assert self.may_answer.wait(30)
        if self.prefix is None:
            return DOWN
        return SERVED if path.startswith(f"{self.prefix}/") else ABSENT


async def until(check: Callable[[], bool]) -> None:
    """Wait until the check passes."""
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.005)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> DialectWatch:
    """A watch that does not wait between questions."""
    for name, seconds in (("AT_ONCE", 3600), ("AGAIN", 0), ("SOON", 0.001), ("LONGEST", 0.01)):
        monkeypatch.setattr(dialect_watch, name, seconds)
    return DialectWatch(lambda: None)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Levels and first lines of its log records; mitmproxy appends tracebacks to messages."""
    records = (record for record in caplog.records if record.name == dialect_watch.__name__)
    return [(each.levelname, each.getMessage().partition("\n")[0]) for each in records]


def test_an_upstream_that_answers(watch: DialectWatch) -> None:
    """It is asked once, and again for each doubt."""
    upstream = Upstream()

    async def test() -> None:
        watch.start({HERE: upstream}, {})
        for times in (1, 2, 3):
            await until(lambda times=times: upstream.asked == times)  # type: ignore[misc]
            await asyncio.sleep(0.1)
            assert upstream.asked == times
            watch.doubt(HERE)
            watch.doubt(THERE)  # An unknown upstream.
        watch.stop()

    run(test)


def test_many_doubts(watch: DialectWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many doubts in a short time cause no more questions."""
    monkeypatch.setattr(dialect_watch, "AGAIN", 3600)
    upstream = Upstream()

    async def test() -> None:
        watch.start({HERE: upstream}, {})
        await watch.first_answers(HERE)
        for _ in range(10):
            watch.doubt(HERE)
            await asyncio.sleep(0.005)
        assert upstream.asked == 1
        watch.stop()

    run(test)


def test_an_upstream_that_is_down(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked until it answers; each of the two states is logged once."""
    upstream = Upstream(None)

    async def test() -> None:
        watch.start({HERE: upstream}, {})
        await watch.first_answers(HERE)
        await until(lambda: upstream.asked > 5)
        upstream.prefix = "/ajax-api"
        await until(lambda: HERE in watch.findings)
        watch.stop()

    run(test)
    assert watch.unclear == set()
    (_, down), (_, up) = said(caplog)
    assert down.endswith("no connection; it does not answer; the rules decide")
    assert up.startswith("upstream here:80: it is used through /ajax-api (")


def test_an_upstream_that_stays_down(watch: DialectWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause doubles with each failure."""
    monkeypatch.setattr(dialect_watch, "LONGEST", 3600)
    monkeypatch.setattr(dialect_watch, "SOON", 0.01)
    upstream = Upstream(None)

    async def test() -> None:
        watch.start({HERE: upstream}, {})
        begin = asyncio.get_running_loop().time()
        await until(lambda: upstream.asked == 5)
        # 1 + 2 + 4 + 8 hundredths of a second.
        assert asyncio.get_running_loop().time() - begin >= 0.15
        watch.stop()

    run(test)


def test_changes_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes are logged, with a level that fits their effect."""
    monkeypatch.setattr(dialect_watch, "AGAIN", 0)
    caplog.set_level(logging.INFO)
    upstream = Upstream()
    told: list[str | None] = []

    async def test() -> None:
        own = DialectWatch(lambda: told.append(own.findings[HERE].dialect))
        own.start({HERE: upstream}, {})
        await own.first_answers(HERE)
        for number, upstream.prefix in enumerate(("/api", None, "/ajax-api", "/ajax-api", "/api")):
            asked = upstream.asked
            own.doubt(HERE)
            await until(lambda asked=asked: upstream.asked > asked)  # type: ignore[misc]
            await until(lambda number=number: len(told) == (1, 1, 2, 2, 3)[number])  # type: ignore[misc]
        own.stop()

    run(test)
    assert told == ["standard", "ajax", "standard"]
    assert [level for level, _ in said(caplog)] == ["INFO", "WARNING", "WARNING"]


def test_requests_wait_for_their_upstream(watch: DialectWatch) -> None:
    """Requests do not wait for another upstream that is slow."""
    quick, slow = Upstream(), Upstream()
    slow.may_answer.clear()

    async def test() -> None:
        watch.start({HERE: quick, THERE: slow}, {})
        waiting = asyncio.create_task(watch.first_answers(THERE))
        await watch.first_answers(HERE)
        assert watch.findings.keys() == {HERE}
        await asyncio.sleep(0.05)
        assert watch.unasked.keys() == {THERE}
        assert not waiting.done()
        slow.may_answer.set()
        await waiting
        assert watch.findings.keys() == {HERE, THERE}
        watch.stop()

    run(test)


@pytest.mark.parametrize("ends", ["time", "stop"])
def test_requests_do_not_wait_for_ever(
    watch: DialectWatch, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """The wait ends after a time limit, and when the watch stops."""
    slow = Upstream()
    slow.may_answer.clear()
    if ends == "time":
        monkeypatch.setattr(dialect_watch, "AT_ONCE", 0.01)

    async def test() -> None:
        watch.start({HERE: slow}, {})
        waiting = asyncio.create_task(watch.first_answers(HERE))
        await until(lambda: slow.asked == 1)
        if ends == "stop":
            watch.stop()
        await asyncio.wait_for(waiting, 30)
        assert watch.unasked == {}
        slow.may_answer.set()
        watch.stop()

    run(test)


def test_upstreams_are_replaced(watch: DialectWatch) -> None:
    """Late answers of the previous upstreams are ignored."""
    before, after = Upstream(), Upstream()
    before.may_answer.clear()

    async def test() -> None:
        watch.start({HERE: before}, {})
        await until(lambda: before.asked == 1)
        watch.start({THERE: after}, {})
        before.may_answer.set()
        await watch.first_answers(THERE)
        await asyncio.sleep(0.05)
        assert watch.findings.keys() == {THERE}
        watch.start({}, {})
        assert watch.findings == {}

    run(test)


def test_an_exception(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """An exception is logged, and the rules decide."""

    def broken(path: str) -> Answer:
        raise RuntimeError(path)

    async def test() -> None:
        watch.start({HERE: broken}, {HERE: "/x"})
        await watch.first_answers(HERE)
        watch.stop()

    run(test)
    not_clear = "upstream here:80: its dialect is not clear: an internal error; the rules decide"
    assert said(caplog) == [("ERROR", "dialect of here:80"), ("WARNING", not_clear)]
    assert watch.findings == {}


GUARDED = Answer(401)
FOUND = Finding("ajax", "", "a client's own request was answered there")


def test_findings_from_clients(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """A client's request counts only until the upstream answers the proxy itself."""
    answers = {HERE: GUARDED, THERE: SERVED}

    async def test() -> None:
        asks = {address: lambda _, address=address: answers[address] for address in answers}
        watch.start(asks, {})
        await watch.first_answers(HERE)
        await watch.first_answers(THERE)
        assert (watch.is_unknown(HERE), watch.is_unknown(THERE)) == (True, False)
        for address in answers:
            watch.learn(address, FOUND)
        assert (watch.findings[HERE], watch.findings[THERE].dialect) == (FOUND, "standard")
        # This is not certain, so another client's request may still change it.
        assert (watch.is_unknown(HERE), watch.unclear) == (False, {HERE})
        watch.doubt(HERE)
        await asyncio.sleep(0.1)
        assert watch.findings[HERE] == FOUND
        answers[HERE] = SERVED
        watch.doubt(HERE)
        await until(lambda: not watch.unclear)
        watch.learn(HERE, FOUND)
        assert watch.findings[HERE].dialect == "standard"
        watch.stop()
        watch.learn(HERE, FOUND)
        assert watch.findings[HERE].dialect == "standard"

    run(test)
    told = [text for _, text in said(caplog)]
    assert len(told) == 3, told
    assert "it asks for credentials; the rules decide; set upstream.external_hosts" in told[0]
    assert told[1].endswith("/ajax-api (a client's own request was answered there)")


def test_reasons_are_logged_once(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """A reason is logged once, until it changes."""
    answers = [DOWN]

    async def test() -> None:
        watch.start({HERE: lambda _: answers[0]}, {})
        for number, answers[0] in enumerate((DOWN, GUARDED, ABSENT, GUARDED), 1):
            watch.doubt(HERE)
            await until(lambda number=number: len(said(caplog)) == number)  # type: ignore[misc]
            watch.doubt(HERE)
            await asyncio.sleep(0.05)
        watch.stop()

    run(test)
    parts = [text.partition("; the rules decide")[0] for _, text in said(caplog)]
    assert [part.rpartition("; ")[2] for part in parts] == [
        "it does not answer",
        "it asks for credentials",
        "nothing is served there",
        "it asks for credentials",
    ]


def test_prefixes_of_clients_are_tried(
    watch: DialectWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A few prefixes are tried at once; those that serve nothing are dropped for others."""
    asked: list[str] = []
    may_answer = threading.Event()

    def ask(path: str) -> Answer:
        asked.append(path.partition("/2.0/")[0])
        assert may_answer.wait(30)
        return SERVED if path.startswith(("/team-a/ajax-api/", "/team-b/api/")) else ABSENT

    async def test() -> None:
        watch.start({HERE: ask}, {})
        await until(lambda: len(asked) == 1)
        watch.hint(THERE, "/absent")
        for prefix in ("/not plain", "/x1", "/x1", "/x2", "/x3", "/x4", "/x5"):
            watch.hint(HERE, prefix)
        may_answer.set()
        await until(lambda: "/x4/ajax-api" in asked)
        await asyncio.sleep(0.05)
        assert (len(asked), {*asked} & {"/not plain/api", "/x5/api"}) == (18, set())
        watch.hint(HERE, "/team-a")
        await until(lambda: HERE in watch.findings)
        assert watch.findings[HERE].base_path == "/team-a"
        watch.hint(HERE, "/team-b")
        await until(lambda: watch.findings[HERE].base_path == "")
        assert watch.findings[HERE].prefixes == ("/team-a", "/team-b")
        # A base path from the rules is taken as given.
        watch.start({HERE: ask}, {HERE: "/x"})
        await watch.first_answers(HERE)
        asked.clear()
        watch.hint(HERE, "/team-a")
        await asyncio.sleep(0.05)
        assert asked == []
        watch.stop()

    run(test)
    assert any("it is used through /team-a/ajax-api" in text for _, text in said(caplog))
    assert any("it is served below /team-a and /team-b" in text for _, text in said(caplog))


def test_no_prefix_is_tried_if_the_root_serves(watch: DialectWatch) -> None:
    """If the root serves MLflow, no prefix is tried."""
    upstream = Upstream()

    async def test() -> None:
        watch.start({HERE: upstream}, {})
        await watch.first_answers(HERE)
        watch.hint(HERE, "/team-a")
        await asyncio.sleep(0.05)
        assert upstream.asked == 1
        watch.stop()

    run(test)


def test_mounts_on_one_host(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """Each mount with its own registry is asked for itself, and named in the log."""
    ajax, standard = Upstream("/ajax-api"), Upstream()
    mount: Address = (*HERE[:2], "/team-a")
    caplog.set_level(logging.INFO)

    async def test() -> None:
        watch.start({HERE: standard, mount: ajax}, {})
        await watch.first_answers(HERE)
        await watch.first_answers(mount)
        watch.stop()

    run(test)
    assert [watch.findings[each].dialect for each in (HERE, mount)] == ["standard", "ajax"]
    assert sorted(text.partition(" (")[0] for _, text in said(caplog)) == [
        "upstream here:80 of mount /team-a: it is used through /ajax-api",
        "upstream here:80: it is used through /api",
    ]


def test_advice_in_the_log(watch: DialectWatch, caplog: pytest.LogCaptureFixture) -> None:
    """The log's advice about a mount's registry names the keys of the mount."""
    mount: Address = (*HERE[:2], "/team-a")

    async def test() -> None:
        watch.start({mount: lambda _: GUARDED}, {})
        await watch.first_answers(mount)
        watch.stop()

    run(test)
    ((_, text),) = said(caplog)
    assert text.startswith("upstream here:80 of mount /team-a: its dialect is not clear: ")
    assert "; set the dialect of the mount in the rules" in text
