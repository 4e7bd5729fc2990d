"""The parts that people see in mitmweb."""
