"""Decides the kind of a request, whether it may pass, and where it goes."""
