"""Who may speak with the server, and how much."""
