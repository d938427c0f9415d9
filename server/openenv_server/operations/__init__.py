"""Running a server: health, metrics, logs and graceful shutdown."""
