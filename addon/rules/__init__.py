"""rules.yaml: its model, reading the file, and watching it."""
