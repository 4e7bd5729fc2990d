"""What people see in mitmweb."""
