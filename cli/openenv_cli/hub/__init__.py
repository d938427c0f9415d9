"""The Hugging Face Hub, as ``openenv push``, ``openenv fork`` and ``openenv list --hub`` use it.

options        the options that both commands share
client         log in, and requests whose errors are explained
errors         from an exception of the Hub's client to a HubError
space          a Space: find, create, change, upload, fork
search         find Spaces by their tag
space_files    the README card and the Dockerfile that a Space needs
"""
