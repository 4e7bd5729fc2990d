"""Several processes of the proxy behind HAProxy, on one machine."""
