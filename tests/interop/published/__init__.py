"""Applications as published environments write them: of the published package alone."""
