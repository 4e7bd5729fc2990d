"""The unit under a real systemd, by the steps of scripts/deploy/README.md."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from soak.load import SEARCH, Load
from support import files_registry, machine
from support.client import request
from support.machine import Machine
from support.waiting import eventually

pytestmark = pytest.mark.slow

# HAProxy notices a draining worker within this time.
DRAIN = {"grace": 3}

# The result of `git archive` and setup.sh, but with the tests' Python and packages in /opt: the
# service cannot see home directories, where they may be.
INSTALL = """
mkdir /opt/mlflow-proxy-VERSION
cd /opt/mlflow-proxy-VERSION
cp -r /opt/checkout/addon /opt/checkout/rules.yaml .
/opt/python/bin/PYTHON -m venv --without-pip .venv
rmdir .venv/lib/PYTHON/site-packages
ln -s /opt/venv/PACKAGES .venv/lib/PYTHON/site-packages
sed "1s|.*|#!$PWD/.venv/bin/python|" /opt/venv/bin/mitmdump >.venv/bin/mitmdump
chmod +x .venv/bin/mitmdump
ln -sfn mlflow-proxy-VERSION /opt/mlflow-proxy
"""

# The result of `pip install` of the wheel, and then the steps of the manual.
INSTALL_WHEEL = """
/opt/python/bin/PYTHON -m venv --without-pip /opt/mlflow-proxy-VERSION
cd /opt/mlflow-proxy-VERSION
/opt/python/bin/PYTHON -m zipfile -e /opt/wheel/*.whl lib/PYTHON/site-packages
echo /opt/venv/PACKAGES >lib/PYTHON/site-packages/others.pth
sed "1s|.*|#!$PWD/bin/python|" /opt/venv/bin/mitmdump >bin/mitmdump
chmod +x bin/mitmdump
bin/python -m mlflow_proxy.cli files /opt/deploy 2>&1
cp /opt/deploy/systemd/mlflow-proxy@.service /etc/systemd/system/
systemctl daemon-reload
"""


def install(there: Machine, version: int | str, script: str = INSTALL) -> str:
    """Install a version in its own folder; return what was printed."""
    packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    script = script.replace("VERSION", str(version)).replace("PACKAGES", str(packages))
    return there.do(script.replace("PYTHON", python))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    with files_registry.start(tmp_path_factory.mktemp("registry")) as server:
        yield server.wait()


@pytest.fixture(scope="module")
def ports() -> list[int]:
    """The ports of the workers."""
    return [lab.free_port() for _ in range(2)]


@pytest.fixture(scope="module")
def there(
    registry: lab.Server, ports: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine with two workers that are installed and enabled."""
    folder = tmp_path_factory.mktemp("machine")
    if reason := machine.missing(folder / "tried"):
        pytest.skip(reason)
    rules = lab.write_rules(folder / "rules" / "rules.yaml", external=["127.0.0.1"], drain=DRAIN)
    places = {
        "/opt/checkout": lab.ROOT,
        "/opt/python": Path(sys.base_prefix),
        "/opt/venv": Path(sys.prefix),
        "/opt/rules": rules.parent,
        "/opt/wheel": lab.wheel(folder / "wheel").parent,
    }
    with Machine(folder / "machine", places) as there:
        there.do("echo /opt/python/lib >/etc/ld.so.conf.d/python.conf; /sbin/ldconfig")
        install(there, 1)
        there.do(f"""
            install -D -m 644 /opt/rules/rules.yaml /etc/mlflow-proxy/rules.yaml
            (umask 077; echo UPSTREAM={registry.url} >/etc/mlflow-proxy/env)
            cp /opt/checkout/scripts/deploy/systemd/mlflow-proxy@.service /etc/systemd/system/
            systemctl daemon-reload
            systemctl enable --now mlflow-proxy@{ports[0]} mlflow-proxy@{ports[1]}
        """)
        yield there


def test_both_workers_serve(there: Machine, ports: list[int]) -> None:
    """Both workers serve when systemctl returns, and are enabled for the next boot."""
    for port in ports:
        assert request(f"http://127.0.0.1:{port}", SEARCH).status == 200
        assert there.do(f"systemctl is-enabled mlflow-proxy@{port}") == "enabled\n"


def test_privileges(there: Machine, ports: list[int]) -> None:
    """The service has no capabilities, and even root can write to only two of its folders."""
    unit = f"mlflow-proxy@{ports[0]}"
    status = there.do(f"cat /proc/$(systemctl show -P MainPID {unit})/status")
    values = dict(line.split(":\t", 1) for line in status.splitlines())
    assert "0" not in values["Uid"].split()
    assert {int(values[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    where_it_is = f"nsenter --target=$(systemctl show -P MainPID {unit}) --mount"
    for place in ("/", "/etc", "/opt/mlflow-proxy/", "/usr", "/var/lib", "/etc/mlflow-proxy"):
        done = there.run("sh", "-c", f"{where_it_is} touch {place}/x")
        assert "Read-only file system" in done.stderr, (place, done)
    there.do(f"{where_it_is} touch /var/log/mlflow-proxy/x")
    assert there.do(f"{where_it_is} ls -A /home") == ""


def test_an_upgrade(there: Machine, ports: list[int], tmp_path: Path) -> None:
    """Behind HAProxy, `systemctl restart` of one worker after the other loses no request."""
    install(there, 2)
    workers = [f"http://127.0.0.1:{port}" for port in ports]
    with (
        lab.balancer(tmp_path, workers).wait("/livez") as balancer,
        Load(balancer.url, 6) as load,
    ):
        for port in ports:
            there.do(f"systemctl restart mlflow-proxy@{port}")
    counts = load.take()
    assert counts["right"] == counts["requests"] > 0, (counts, load.examples)
    assert load.check_doubtful() == 0
    for port in ports:
        folder = there.do(f"readlink /proc/$(systemctl show -P MainPID mlflow-proxy@{port})/cwd")
        assert folder == "/opt/mlflow-proxy-2\n"


def test_a_reload(there: Machine, ports: list[int]) -> None:
    """`systemctl reload` succeeds if the worker takes the rules, and fails if it refuses them."""
    unit = f"mlflow-proxy@{ports[0]}"
    there.do("cp /etc/mlflow-proxy/rules.yaml /tmp/rules.yaml")
    there.do(f"systemctl reload {unit}")
    there.do("echo 'nope: 1' >>/etc/mlflow-proxy/rules.yaml")
    assert there.run("systemctl", "reload", unit).returncode == 1
    journal = there.do(f"journalctl --unit={unit} --output=cat")
    assert "refused, the old rules stay in force: /etc/mlflow-proxy/rules.yaml:" in journal
    there.do(f"cp /tmp/rules.yaml /etc/mlflow-proxy/rules.yaml; systemctl reload {unit}")


def test_a_wheel(there: Machine, ports: list[int]) -> None:
    """The unit that `mlflow-proxy files` writes serves from the installed package, and reloads."""
    unit = f"mlflow-proxy@{ports[0]}"
    assert "services do not see" not in install(there, "pip", INSTALL_WHEEL)
    there.do(f"systemctl restart {unit}")
    assert request(f"http://127.0.0.1:{ports[0]}", SEARCH).status == 200
    folder = there.do(f"readlink /proc/$(systemctl show -P MainPID {unit})/cwd")
    assert folder.startswith("/opt/mlflow-proxy-pip/lib/")
    there.do(f"systemctl reload {unit}")


def test_the_journal(there: Machine, ports: list[int]) -> None:
    """A worker's log lines are in the journal at once."""
    there.do("echo 'nope: 1' >>/etc/mlflow-proxy/rules.yaml")
    show = f"journalctl --unit=mlflow-proxy@{ports[0]} --output=cat"
    eventually(lambda: "the old rules stay in force" in there.do(show))
