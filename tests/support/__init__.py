"""Shared code for the tests."""
