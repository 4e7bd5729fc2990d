"""Explains one request in words, with the decisions of the hooks' own functions."""
