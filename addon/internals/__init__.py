"""The undocumented parts of mitmproxy in use: one table, checked at start."""
