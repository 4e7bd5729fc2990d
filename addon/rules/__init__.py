"""What rules.yaml may say: its model, its file, and how it is watched."""
