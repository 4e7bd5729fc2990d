"""Facts of HTTP, without a policy."""
