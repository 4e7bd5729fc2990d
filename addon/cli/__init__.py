"""Commands for the shell: run, check, explain, probe and others."""
