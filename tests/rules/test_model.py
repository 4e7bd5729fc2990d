"""The model: defaults, the shipped file and the schema for editors."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from addon.rules import rules_file

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "addon" / "rules.schema.json").read_text())


def test_shipped_file() -> None:
    """The shipped file is valid. Each key of the model is in it or has a default."""
    shipped = rules_file.load(ROOT / "rules.yaml")
    assert shipped.upstream.external_hosts == ["registry.hokus.ai"]
    assert shipped.mounts_longest_first == ("/api/mlflow", "/mlflow", "")
    assert shipped.artifacts.enabled
    assert shipped.streaming.threshold == 2**20
    names = [probe.name for probe in shipped.health.probes]
    assert {"connectivity", "experiments_api", "models_api", "artifacts_api"} <= set(names)


def test_empty_file_has_defaults() -> None:
    """With an empty file the proxy changes nothing."""
    parsed = rules_file.parse("", "test")
    assert parsed.mounts_longest_first == ("",)
    assert not parsed.rewrites
    assert not parsed.is_api_path("/api/2.0/mlflow")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "RESOURCE_NOT_FOUND"),
        (502, "TEMPORARILY_UNAVAILABLE"),
        (418, "BAD_REQUEST"),
        (599, "INTERNAL_ERROR"),
    ],
)
def test_codes(status: int, code: str) -> None:
    """A status has its own error code or that of its class."""
    assert rules_file.load(ROOT / "rules.yaml").errors.code(status) == code
    assert rules_file.parse("", "test").errors.code(500) == "INTERNAL_ERROR"
    assert rules_file.parse("", "test").errors.code(404) == "BAD_REQUEST"


def test_api_paths_are_independent_expressions() -> None:
    """Flags and groups of one path do not affect the others."""
    paths = [r"(?i)/a", r"/(?P<x>b)(?P=x)", r"/(?P<x>c)"]
    parsed = rules_file.parse(f"errors: {{api_paths: {json.dumps(paths)}}}", "f")
    assert [parsed.is_api_path(path) for path in ("/A", "/bb", "/c", "/C")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("size", "expected"),
    [("0", 0), ("512", 512), ("512B", 512), ("1KiB", 1024), ("2 MiB", 2**21), ("1GiB", 2**30)],
)
def test_sizes(size: str, expected: int) -> None:
    """Sizes are bytes, or numbers with a binary unit."""
    assert (
        rules_file.parse(f"streaming: {{threshold: {size}}}", "f").streaming.threshold == expected
    )


def test_schema_matches_the_model() -> None:
    """The schema file equals the model's output: `python -m addon.cli schema`."""
    assert rules_file.schema() == SCHEMA


def test_schema_accepts_the_shipped_file_and_refuses_mistakes() -> None:
    """Editors accept and refuse the same as the proxy."""
    # JSON keys are always strings; an editor's YAML mode converts them.
    shipped = json.loads(json.dumps(yaml.safe_load((ROOT / "rules.yaml").read_text())))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(shipped, SCHEMA)
    mistakes: tuple[dict[str, object], ...] = (
        {"upstrem": {}},
        {"mounts": 5},
        {"artifacts": {"enabled": "yes"}},
    )
    for mistake in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(mistake, SCHEMA)
