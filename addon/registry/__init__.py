"""Requests to the registry behind the proxy: probes, health paths, dialect."""
