"""The Kubernetes manifests: what each field may say, and what fields say of each other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lab
import pytest
from install import lock_file
from support.dockerfile import instructions
from support.manifests import FOLDER, Manifests

from addon.rules import rules_file

PROBES = ("readinessProbe", "startupProbe", "livenessProbe")
DOCKERFILE = FOLDER.parent / "Dockerfile"


@pytest.fixture(scope="module", params=["base", "example"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """The base, and what the example makes of it."""
    return Manifests.of(FOLDER / str(request.param))


def validated(path: Path, version: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [lab.tool("kubernetes-validate"), "--strict", "-k", version, path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_schemas(manifests: Manifests, tmp_path: Path, version: str) -> None:
    """Kubernetes knows every field."""
    file = tmp_path / "all.yaml"
    file.write_text(manifests.text)
    done = validated(file, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed for ") == len(manifests.objects) == 8


def test_schemas_are_strict(manifests: Manifests, tmp_path: Path) -> None:
    """A field that Kubernetes does not know would be dropped in silence."""
    file = tmp_path / "all.yaml"
    file.write_text(manifests.text.replace("periodSeconds:", "periodSecond:"))
    done = validated(file, "1.33")
    assert done.returncode != 0
    assert "periodSecond" in done.stdout + done.stderr


def test_rules(manifests: Manifests) -> None:
    """They are those of the project: if this fails, copy rules.yaml into the base."""
    [(name, text)] = manifests.the("ConfigMap", "mlflow-proxy-rules")["data"].items()
    assert text == (lab.ROOT / "rules.yaml").read_text()
    rules_file.parse(text, name)


def test_rules_of_ones_own(tmp_path: Path) -> None:
    """As scripts/deploy/README.md says it; their name stays."""
    text = (lab.ROOT / "scripts" / "deploy" / "README.md").read_text()
    [generator] = re.findall(r"```yaml\n( *configMapGenerator:\n(?:.*\n)*?) *```", text)
    resources = f"resources: [{os.path.relpath(FOLDER / 'base', tmp_path)}]\n"
    (tmp_path / "kustomization.yaml").write_text(resources + textwrap.dedent(generator))
    (tmp_path / "rules.yaml").write_text("mounts: [/]")
    manifests = Manifests.of(tmp_path)
    data = manifests.the("ConfigMap", "mlflow-proxy-rules")["data"]
    assert data == {"rules.yaml": "mounts: [/]"}
    rules = manifests.pod["spec"]["volumes"][0]["configMap"]["name"]
    assert rules == manifests.the("ConfigMap", "mlflow-proxy-rules")["metadata"]["name"]


def test_there_is_time_to_drain(manifests: Manifests) -> None:
    """A pod is not killed before the proxy would end by itself."""
    drain = rules_file.load(FOLDER / "base" / "rules.yaml").drain
    assert manifests.pod["spec"]["terminationGracePeriodSeconds"] > drain.grace + drain.timeout
    # Else both would wait one after the other.
    assert "lifecycle" not in manifests.container


def test_a_rollout_takes_nothing_away(manifests: Manifests) -> None:
    """There is a new pod before an old one goes."""
    deployment = manifests.the("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # They are the autoscaler's.


def test_scaling(manifests: Manifests) -> None:
    """It scales this Deployment by what it asks for, and someone stays when nodes are emptied."""
    scaler = manifests.the("HorizontalPodAutoscaler")["spec"]
    deployment = manifests.the("Deployment")
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu"]
    assert "cpu" in manifests.container["resources"]["requests"]
    budget = manifests.the("PodDisruptionBudget")["spec"]
    assert 0 < budget["maxUnavailable"] < scaler["minReplicas"] < scaler["maxReplicas"]


def test_there_is_memory_for_10_000_clients(manifests: Manifests) -> None:
    """By what scripts/bench.sh measures: 350 MiB, and as much again for what they ask for."""
    limit = manifests.container["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) >= 2 * 350


def test_selectors(manifests: Manifests) -> None:
    """All of them mean the pods of the Deployment."""
    labels = manifests.pod["metadata"]["labels"]
    spread = manifests.pod["spec"]["topologySpreadConstraints"]
    selectors: list[Any] = [
        manifests.the("Deployment")["spec"]["selector"]["matchLabels"],
        manifests.the("Service")["spec"]["selector"],
        manifests.the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifests.the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ]
    assert len(selectors) == 6
    assert all(selector and selector.items() <= labels.items() for selector in selectors)


def test_ports(manifests: Manifests) -> None:
    """What listens, what is announced, what is asked and what is let in are the same ports."""
    port, metrics = manifests.container["ports"]
    assert f"--listen-port={port['containerPort']}" in manifests.container["args"]
    listener = f"--set=mlflow_metrics=0.0.0.0:{metrics['containerPort']}"
    assert listener in manifests.container["args"]
    exposed = dict(instructions(DOCKERFILE.read_text()))["EXPOSE"]
    assert exposed == str(port["containerPort"])
    readiness, *others = (manifests.container[probe] for probe in PROBES)
    assert readiness["httpGet"]["port"] == port["name"]
    for probe in others:
        assert probe["exec"]["command"][-1] == str(port["containerPort"])
    [served] = manifests.the("Service")["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    policy = manifests.the("NetworkPolicy")["spec"]
    assert policy["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": each["name"]}]} for each in (port, metrics)
    ]


def test_the_way_out(manifests: Manifests) -> None:
    """To name servers and to the registry; a policy that forgets one of them stops everything."""
    rules = manifests.the("NetworkPolicy")["spec"]["egress"]
    ports = {(each["protocol"], each["port"]) for rule in rules for each in rule["ports"]}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 80)}
    registry = urlsplit(manifests.environment["UPSTREAM"])
    default = {"http": 80, "https": 443}[registry.scheme]
    assert ("TCP", registry.port or default) in ports


def test_privileges(manifests: Manifests) -> None:
    """What the restricted profile of the Pod Security Standards asks for, and more."""
    pod = manifests.pod["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert manifests.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert dict(instructions(DOCKERFILE.read_text()))["USER"] == "65532:65532"
    assert pod["serviceAccountName"] == manifests.the("ServiceAccount")["metadata"]["name"]
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()


def test_the_rules_are_read_where_they_are_mounted(manifests: Manifests) -> None:
    """And as a folder: Kubernetes never changes a file that is mounted by itself."""
    pod = manifests.pod["spec"]
    mounts = {mount["name"]: mount for mount in manifests.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert not any("subPath" in mount for mount in mounts.values())
    rules = f"--set=mlflow_rules={mounts['rules']['mountPath']}/rules.yaml"
    assert rules in manifests.container["args"]
    # A name that changed with the rules would replace the pods.
    assert volumes["rules"]["configMap"]["name"] == "mlflow-proxy-rules"


def test_a_change_of_the_environment_replaces_the_pods(manifests: Manifests) -> None:
    """Its name says what is in it. podman knows no `$(UPSTREAM)`: the image reads it."""
    name = manifests.the("ConfigMap", "mlflow-proxy-environment")["metadata"]["name"]
    assert re.fullmatch(r"mlflow-proxy-environment-\w{10}", name)
    assert urlsplit(manifests.environment["UPSTREAM"]).scheme in ("http", "https")
    assert "$(" not in str(manifests.container)


def test_the_probes_are_the_check_of_the_image(manifests: Manifests) -> None:
    """What runs in the container is in it, for Kubernetes, Docker and podman."""
    checked = dict(instructions(DOCKERFILE.read_text()))["HEALTHCHECK"].partition("CMD ")[2]
    for probe in ("startupProbe", "livenessProbe"):
        assert manifests.container[probe]["exec"]["command"][:-1] == json.loads(checked)


def test_the_python_of_the_image() -> None:
    """One that the locks are made for."""
    versions = re.findall(r"^FROM python:(\S+)-slim", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(versions) == 2
    assert versions[0] == versions[1]
    assert versions[0] in lock_file.PYTHONS


def test_hadolint() -> None:
    """The Dockerfile follows its rules."""
    done = subprocess.run(
        [lab.tool("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
