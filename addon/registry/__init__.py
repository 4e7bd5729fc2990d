"""Asking what is behind the proxy: probes, health paths, dialect."""
