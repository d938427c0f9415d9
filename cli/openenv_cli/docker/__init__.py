"""What the commands do with Docker: through the ``docker`` command, which alone can build with BuildKit.

client          which docker command to use, and running it
build_output    what a build writes, read into steps: which one runs, and which one failed
display         progress, for people and for pipes
dockerfile      what a Dockerfile starts from, and which arguments it takes
images          images are built, looked at, tagged and pushed
environment     an environment's image, and openenv-base where that is needed first
"""
