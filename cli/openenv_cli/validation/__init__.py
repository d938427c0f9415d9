"""The checks of ``openenv validate``. A check is a function that returns a `CheckResult`.

run                  validate a folder or a URL: all checks, in order
check                what a check is, and how checks are run
report               the report, as JSON and in the terminal
folder_checks        the files, and the project's metadata
dockerfile_checks    the Dockerfile
server               the server being validated, and its log
server_checks        start, HTTP routes, schemas, capacity, stop
session_checks       reset, step, state, seed, invalid actions, Gymnasium's check_env
episodes             episodes of sampled actions, and their comparison
mode_checks          the other ways to start a server: uv run server, python -m
image_checks         the image and its container
"""
