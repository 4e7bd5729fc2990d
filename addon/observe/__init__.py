"""Reports about ended requests: access log, metrics, remarks."""
