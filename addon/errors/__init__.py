"""Each document that a client reads when something fails."""
