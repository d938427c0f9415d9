"""``openenv play``: play an environment by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openenv_gym.transport.blocking import run

if TYPE_CHECKING:
    from openenv_cli.playing.prompts import Lines
    from openenv_cli.playing.screen import Screen
    from openenv_cli.targets import Target
    from openenv_gym.env_spaces import EnvSpaces
    from openenv_gym.session.session import Outcome

_COMMANDS = (
    ":reset [SEED]  start a new episode\n"
    ":sample        take a random action\n"
    ":state         show the environment's state\n"
    ":help          show this help\n"
    ":quit          quit; also Ctrl-D"
)


def play(
    target: Annotated[str, typer.Argument(metavar="NAME|URL", help="A name, a URL, or a folder.")] = ".",
    web: Annotated[
        bool, typer.Option("--web", help="Play in the browser, on a page that runs on this machine.")
    ] = False,
) -> None:
    """Play an environment by hand in the terminal, or in the browser.

    Each field of the action is a question: Enter takes the default in brackets, ? shows help, and a JSON
    object is taken as the whole action. Every question accepts :reset [SEED], :sample, :state, :help and
    :quit. `play` also reads commands from a pipe; then the exit code is 1 if a step failed.

    With --web, it prints the page's address, opens it if this is a terminal, and runs until Ctrl-C.

    Examples:
        openenv play http://localhost:8000

        openenv play my-env

        openenv play ./my_env < moves.txt

        openenv play --web https://my-org-my-env.hf.space
    """
    from openenv_cli.playing.prompts import Lines
    from openenv_cli.playing.screen import Screen
    from openenv_cli.targets import launched

    if web:
        from openenv_cli.playing.browser import play_in_browser

        with launched(target) as server:
            play_in_browser(server)
        return
    lines = Lines()
    try:
        with launched(target) as server:
            has_failed = _Game(server, Screen(), lines).play()
    except KeyboardInterrupt:
        print()  # the shell's prompt starts on a new line
        raise
    if has_failed and not lines.is_typed:
        raise typer.Exit(1)


class _Game:
    """A session and its current episode."""

    def __init__(self, target: Target, screen: Screen, lines: Lines) -> None:
        from openenv_gym.env import SpaceCoding
        from openenv_gym.env_spaces import read_env_spaces
        from openenv_gym.session.channel import Timeouts
        from openenv_gym.session.session import Session
        from openenv_gym.spaces.codecs import PayloadCodec
        from openenv_gym.transport.blocking import BlockingTransport
        from openenv_gym.transport.http import get_schemas

        endpoint, timeouts = target.endpoint, Timeouts()
        schemas = get_schemas(endpoint, timeout_s=timeouts.connect_s)
        self._schema, _ = schemas
        self._env_spaces = read_env_spaces(
            endpoint,
            schemas,
            reset_timeout_s=timeouts.reset_s,
            unwrap=False,
            omit_defaults=False,
            infer_shapes=False,
            action_space=None,
            observation_space=None,
            render_mode=None,
        )
        # The server validates what was typed: its model may accept more than the space contains.
        as_typed: EnvSpaces = self._env_spaces._replace(action=PayloadCodec(self._env_spaces.action.space))
        self._session = Session(endpoint, BlockingTransport(), SpaceCoding(as_typed), timeouts)
        self._target, self._endpoint = target, endpoint
        self._screen, self._lines = screen, lines
        self._renders = self._env_spaces.server_renders is not None
        self._steps, self._return = 0, 0.0
        self._has_failed = False

    def play(self) -> bool:
        """Play until the input ends or the user quits. Return whether a step failed.

        Raises:
            OpenEnvError: No session can be opened.
        """
        from openenv_cli.playing.prompts import CommandTypedError, ask_action

        try:
            self._screen.tell(f"{self._endpoint}. Type :help for the commands, ? for help on a question.")
            self._reset(None)
            while True:
                try:
                    action = ask_action(self._schema, self._lines, self._screen.tell)
                except CommandTypedError as command:
                    if not self._obey(command.words):
                        return self._has_failed
                else:
                    self._step(action)
        except EOFError:
            return self._has_failed
        finally:
            run(self._session.close())

    def _obey(self, words: list[str]) -> bool:
        """Run a command. Return whether to continue."""
        match words:
            case ["quit" | "q"]:
                return False
            case ["reset"]:
                self._reset(None)
            case ["reset", seed] if seed.isdigit():
                self._reset(int(seed))
            case ["sample"]:
                action = self._env_spaces.action.encode(self._env_spaces.action.space.sample())
                self._screen.tell(json.dumps(action, ensure_ascii=False))
                self._step(action)
            case ["state"]:
                self._screen.show(run(self._session.state()))
            case _:
                self._screen.tell(_COMMANDS)
        return True

    def _reset(self, seed: int | None) -> None:
        outcome = run(self._session.reset({} if seed is None else {"seed": seed}))
        self._steps, self._return = 0, 0.0
        self._screen.tell("New episode" if seed is None else f"New episode with seed {seed}", "bold")
        if outcome.info.get("seed_ignored"):
            self._screen.tell("The environment ignores the seed.")
        self._show(outcome)

    def _step(self, action: dict[str, Any]) -> None:
        from openenv_cli.output import say, with_notes
        from openenv_gym.errors import EndpointError, RemoteEnvironmentError, RemoteError, StepTimeoutError

        try:
            outcome = run(self._session.step(action, f"step {self._steps + 1}"))
        except (EndpointError, RemoteError) as error:
            if isinstance(error, RemoteEnvironmentError):
                self._target.explain(error)
            say("Error", with_notes(error))
            self._has_failed = True
            if isinstance(error, StepTimeoutError | EndpointError):
                self._reset(None)  # the session is gone
            return
        self._steps += 1
        reward = float(outcome.reward or 0.0)
        self._return += reward
        facts = f"step {self._steps}, reward {reward:g}, return {self._return:g}"
        ends = [name for name in ("terminated", "truncated") if getattr(outcome, name)]
        self._screen.tell(", ".join([facts, *ends]), "bold")
        self._show(outcome)
        if ends:
            self._reset(None)

    def _show(self, outcome: Outcome) -> None:
        """Show an observation, and its rendered frame if there is one."""
        payload = self._env_spaces.observation.encode(outcome.observation)
        self._screen.show(payload, outcome.observation)
        if outcome.info:
            self._screen.show({"info": outcome.info})
        self._screen.show_render(self._rendered(outcome))

    def _rendered(self, outcome: Outcome) -> Any:
        from openenv_gym.errors import ConfigurationError

        if self._renders:
            try:
                return run(self._session.render())
            except ConfigurationError:  # a proxy may restrict the connection to version 1, without rendering
                self._renders = False
        image = self._env_spaces.renderers.get("rgb_array")
        return image(outcome.observation) if image is not None and self._screen.has_pictures else None
