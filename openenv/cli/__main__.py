"""Where the ``openenv`` script starts, under the name that the published package gives it too."""

from openenv_cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
