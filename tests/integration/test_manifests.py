"""The Kubernetes manifests: valid fields, and fields that must agree with each other."""

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
from addon.rules.model import Limits

PROBES = ("readinessProbe", "startupProbe", "livenessProbe")
DOCKERFILE = FOLDER.parent / "Dockerfile"


@pytest.fixture(scope="module", params=["base", "example"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """The base and the example."""
    return Manifests.of(FOLDER / str(request.param))


def validated(path: Path, version: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [lab.tool("kubernetes-validate"), "--strict", "-k", version, path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_schemas(manifests: Manifests, tmp_path: Path, version: str) -> None:
    """Each field exists in Kubernetes' schemas."""
    file = tmp_path / "all.yaml"
    file.write_text(manifests.text)
    done = validated(file, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed for ") == len(manifests.objects) == 8


def test_schemas_are_strict(manifests: Manifests, tmp_path: Path) -> None:
    """An unknown field is an error; Kubernetes would drop it silently."""
    file = tmp_path / "all.yaml"
    file.write_text(manifests.text.replace("periodSeconds:", "periodSecond:"))
    done = validated(file, "1.33")
    assert done.returncode != 0
    assert "periodSecond" in done.stdout + done.stderr


def test_rules(manifests: Manifests) -> None:
    """The rules equal rules.yaml of the project: if this fails, copy it into the base."""
    [(name, text)] = manifests.the("ConfigMap", "mlflow-proxy-rules")["data"].items()
    assert text == (lab.ROOT / "rules.yaml").read_text()
    rules_file.parse(text, name)


def test_custom_rules(tmp_path: Path) -> None:
    """The generator in scripts/deploy/README.md replaces the rules and keeps their name."""
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


def test_termination_grace_period(manifests: Manifests) -> None:
    """Kubernetes waits longer for a pod than the proxy takes to drain."""
    drain = rules_file.load(FOLDER / "base" / "rules.yaml").drain
    assert manifests.pod["spec"]["terminationGracePeriodSeconds"] > drain.grace + drain.timeout
    # A preStop hook would only add its own waiting time.
    assert "lifecycle" not in manifests.container


def test_rollout(manifests: Manifests) -> None:
    """A rollout starts a new pod before it stops an old one."""
    deployment = manifests.the("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # The autoscaler sets them.


def test_scaling(manifests: Manifests) -> None:
    """The autoscaler scales this Deployment by CPU; draining nodes leaves a pod running."""
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


def test_there_is_memory_for_the_limits(manifests: Manifests) -> None:
    """By what scripts/soak.sh limits measures, with a margin of 10 %, as in the unit of systemd."""
    limits = Limits()
    # A client with TLS, and a request whose client or registry does not read, with the kernel's
    # buffers; MiB.
    worst = 90 + limits.connections * 0.103 + limits.flows * 1.75 + 1.2 * limits.held / 2**20
    assert manifests.container["resources"]["limits"]["memory"] == "3Gi"
    assert worst <= 0.9 * 3072
    unit = (lab.ROOT / "scripts" / "deploy" / "systemd" / "mlflow-proxy@.service").read_text()
    assert "\nMemoryMax=3G\n" in unit


def test_selectors(manifests: Manifests) -> None:
    """All selectors match the pods of the Deployment."""
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
    """Arguments, image, probes, Service and network policy agree on the ports."""
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


def test_egress(manifests: Manifests) -> None:
    """The network policy allows DNS and the registry."""
    rules = manifests.the("NetworkPolicy")["spec"]["egress"]
    ports = {(each["protocol"], each["port"]) for rule in rules for each in rule["ports"]}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 80)}
    registry = urlsplit(manifests.environment["UPSTREAM"])
    default = {"http": 80, "https": 443}[registry.scheme]
    assert ("TCP", registry.port or default) in ports


def test_privileges(manifests: Manifests) -> None:
    """The pod meets the restricted Pod Security Standard, and more."""
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


def test_rules_are_mounted_as_a_folder(manifests: Manifests) -> None:
    """The rules are mounted as a folder; Kubernetes never updates a file mounted with subPath."""
    pod = manifests.pod["spec"]
    mounts = {mount["name"]: mount for mount in manifests.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert not any("subPath" in mount for mount in mounts.values())
    rules = f"--set=mlflow_rules={mounts['rules']['mountPath']}/rules.yaml"
    assert rules in manifests.container["args"]
    # If the name depended on the rules, a change would replace the pods.
    assert volumes["rules"]["configMap"]["name"] == "mlflow-proxy-rules"


def test_a_change_of_the_environment_replaces_the_pods(manifests: Manifests) -> None:
    """Its name contains a hash. podman does not expand `$(UPSTREAM)`, but the image does."""
    name = manifests.the("ConfigMap", "mlflow-proxy-environment")["metadata"]["name"]
    assert re.fullmatch(r"mlflow-proxy-environment-\w{10}", name)
    assert urlsplit(manifests.environment["UPSTREAM"]).scheme in ("http", "https")
    assert "$(" not in str(manifests.container)


def test_probes_match_the_health_check(manifests: Manifests) -> None:
    """The probes run the image's own health check, as Docker and podman do."""
    checked = dict(instructions(DOCKERFILE.read_text()))["HEALTHCHECK"].partition("CMD ")[2]
    for probe in ("startupProbe", "livenessProbe"):
        assert manifests.container[probe]["exec"]["command"][:-1] == json.loads(checked)


def test_python_of_the_image() -> None:
    """The image's Python is one of those in the lock files."""
    versions = re.findall(r"^FROM python:(\S+)-slim", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(versions) == 2
    assert versions[0] == versions[1]
    assert versions[0] in lock_file.PYTHONS


def test_hadolint() -> None:
    """hadolint finds nothing in the Dockerfile."""
    done = subprocess.run(
        [lab.tool("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
