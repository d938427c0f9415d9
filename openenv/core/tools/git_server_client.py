"""A client of a Gitea server's repositories."""

from openenv_server.git_server import GitServerClient, RepoInfo

__all__ = ["GitServerClient", "RepoInfo"]
