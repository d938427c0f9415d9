"""The Hugging Face Hub, as ``openenv push`` and ``openenv fork`` use it.

options        the options that both commands share
client         log in, and requests whose errors are explained
errors         from an exception of the Hub's client to a HubError
space          a Space: find, create, change, upload, fork
space_files    the README card and the Dockerfile that a Space needs
"""
