"""The commands of the shell: run, check, explain, probe."""
