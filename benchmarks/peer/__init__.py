"""What runs in the published package's own virtual environment."""
