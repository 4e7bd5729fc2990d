"""MLflow through mitmproxy: rewritten paths, an artifact switch, errors in JSON, health probes."""

__version__ = "0.1.0"
