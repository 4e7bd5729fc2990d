"""MLflow through mitmproxy: rewritten paths, an artifact switch, errors in JSON, health probes."""
