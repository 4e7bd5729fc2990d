"""One request in words, decided by the functions of the hooks."""
