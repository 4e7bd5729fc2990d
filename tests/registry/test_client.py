"""The client for the registry: URL and credentials."""

from collections.abc import Mapping

import pytest

from addon.registry.client import client_from_environment


@pytest.mark.parametrize(
    ("url", "environment", "base", "authorization"),
    [
        ("http://h:1/x", {}, "http://h:1/x", None),
        ("http://h", {"MLFLOW_TRACKING_TOKEN": "t"}, "http://h", "Bearer t"),
        ("http://h", {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"},
         "http://h", "Basic dTpw"),
        ("http://h", {"MLFLOW_TRACKING_USERNAME": "u"}, "http://h", None),
        # As in MLflow's client, user and password override a token.
        ("http://u:p@h", {"MLFLOW_TRACKING_TOKEN": "t"}, "http://h", "Basic dTpw"),
    ],
)  # fmt: skip
def test_credentials(
    url: str, environment: Mapping[str, str], base: str, authorization: str | None
) -> None:
    """Credentials come from the environment or the URL, and are not in the URL that is shown."""
    client = client_from_environment(url, 1, environment)
    assert (client.url, client.authorization) == (base, authorization)


@pytest.mark.parametrize("url", ["", "proxy:8080", "ftp://h", "http://", "https:///x"])
def test_bad_urls(url: str) -> None:
    """An invalid URL is refused before anything is sent."""
    with pytest.raises(ValueError, match="expected a URL"):
        client_from_environment(url, 1, {})
