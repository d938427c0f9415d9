"""Docker, through the ``docker`` command: only it can build with BuildKit.

client          find the docker command, run it, and run containers
build_output    parse a build's output into steps
dockerfile      read Dockerfiles and .dockerignore files
images          build, inspect, tag and push images, with progress
labels          what an image says about itself
environment     build an environment's image, and openenv-base if it is needed
"""
