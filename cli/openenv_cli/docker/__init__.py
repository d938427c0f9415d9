"""What the commands do with Docker: through the ``docker`` command, which alone can build with BuildKit.

client          which docker command to use, and running it
build_output    what a build writes, read into steps: which one runs, and which one failed
display         progress, for people and for pipes
dockerfile      a Dockerfile's instructions and stages, and what these start from
dockerignore    what a .dockerignore keeps out of a build
images          images are built, looked at, tagged and pushed
environment     an environment's image, and openenv-base where that is needed first
"""
