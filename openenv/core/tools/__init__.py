"""Tools of environments, for git and for Python code."""

from openenv_server.git_server import GitServerClient, RepoInfo

try:
    from openenv_server.python_executor import PyExecutor
except ModuleNotFoundError:  # smolagents is not installed
    PyExecutor = None  # type: ignore[assignment, misc]

__all__ = ["GitServerClient", "PyExecutor", "RepoInfo"]
