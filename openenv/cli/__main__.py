"""Where the ``openenv`` script starts, under the name that the published package gives it too."""

from typing import TYPE_CHECKING, Any

from openenv_cli.main import main

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:
    """Make the Typer application, with all commands, when it is first used: the script does not need it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openenv_cli.commands import make_app

    globals()["app"] = make_app()
    return globals()["app"]


if __name__ == "__main__":
    main()
