"""Runs Python code in this process."""

from openenv_server.python_executor import PyExecutor

__all__ = ["PyExecutor"]
