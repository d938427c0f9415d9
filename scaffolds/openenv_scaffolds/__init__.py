"""What ``openenv init`` renders."""
