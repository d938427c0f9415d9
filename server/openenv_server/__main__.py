"""``python -m openenv_server [FOLDER]``: serve an environment's folder without the `openenv` command.

Images start their server this way. Environment variables configure it (see `Settings`).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from openenv_gym.errors import OpenEnvError
from openenv_server.loading import load_folder
from openenv_server.operations.logs import listening_line
from openenv_server.settings import read_settings
from openenv_server.workers import serve_app

_INTERRUPTED = 130


def main(arguments: list[str]) -> None:
    """Serve until a signal ends it.

    Args:
        arguments: The folder; the current one if empty.
    """
    folder = Path(arguments[0] if arguments else ".").resolve()
    try:
        settings = read_settings()
        output = sys.stdout
        serve_app(
            partial(load_folder, folder),
            workers=1,
            host=settings.host,
            port=settings.port,
            settings=settings,
            on_started=lambda url: print(listening_line(settings.log_format, url), file=output, flush=True),
            on_stopped=lambda: None,
        )
    except OpenEnvError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main(sys.argv[1:])
