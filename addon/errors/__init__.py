"""The error documents that clients get."""
