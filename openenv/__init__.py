"""The import paths of the guide, for those who have openenv-gym alone. Re-exports, nothing else."""
