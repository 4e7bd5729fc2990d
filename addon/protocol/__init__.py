"""Facts of HTTP, without any policy."""
