"""``python -m openenv_cli``."""

from openenv_cli.main import main

main()
