"""What a request is, whether it may pass, and where it goes."""
