"""Names for environments: ``gym.make("openenv/NAME")``, and where this machine knows names from."""
