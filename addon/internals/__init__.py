"""What is used of mitmproxy and not documented: one table, checked at start."""
