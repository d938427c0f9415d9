"""The playground: a page on which people play an environment, made with Gradio.

It is a client of a server, so it shows any server, and its sessions come from the same capacity as all
others.
"""
