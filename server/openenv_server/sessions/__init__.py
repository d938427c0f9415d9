"""Sessions: environments, their threads, and how many there may be."""
