"""Who may use the server: the API key, web origins and size limits."""
