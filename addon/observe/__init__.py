"""What is told about a request that has ended: access log, metrics, remarks."""
