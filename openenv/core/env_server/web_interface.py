"""The page of a server. Ours has it at ``/``, so an application with a page is any application."""

from openenv_server.app import create_app as create_web_interface_app
from openenv_server.readme import load_environment_metadata

__all__ = ["WebInterfaceManager", "create_web_interface_app", "load_environment_metadata"]

# As in the published package without Gradio, to which this class belongs.
WebInterfaceManager = None
