"""Programs that run in the published package's own virtual environment."""
