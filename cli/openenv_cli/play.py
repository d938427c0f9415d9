"""``openenv play``: an environment, driven by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openenv_gym.transport.blocking import run

if TYPE_CHECKING:
    from openenv_cli.playing.lines import Lines
    from openenv_cli.playing.screen import Screen
    from openenv_gym.env_spaces import EnvSpaces
    from openenv_gym.providers.launching import Launch
    from openenv_gym.session.session import Outcome

_COMMANDS = (
    ":reset [SEED]  begin an episode\n"
    ":sample        take a random action\n"
    ":state         show the environment's state\n"
    ":help          show this\n"
    ":quit          leave, as Ctrl-D does"
)


def play(
    target: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A name that is known here, a URL, or a folder.")
    ],
) -> None:
    """Drives an environment by hand, in the terminal.

    Each field of the action is a question: Enter takes the default in brackets, ? says more, and a whole
    action may be typed as a JSON object. :reset [SEED], :sample, :state, :help and :quit go at any question.
    What comes from a pipe is outcome as if it were typed; the exit code is 1 where a step of it failed.

    Examples:
        openenv play http://localhost:8000

        openenv play my-env

        openenv play ./my_env < moves.txt
    """
    from openenv_cli.playing.lines import Lines
    from openenv_cli.playing.screen import Screen
    from openenv_cli.targets import launched

    lines = Lines()
    try:
        with launched(target) as launch:
            has_failed = _Game(launch, Screen(), lines).play()
    except KeyboardInterrupt:
        print()  # what the shell says next has a line of its own
        raise
    if has_failed and not lines.is_typed:
        raise typer.Exit(1)


class _Game:
    """A session, and the episode that is under way in it."""

    def __init__(self, launch: Launch, screen: Screen, lines: Lines) -> None:

        from openenv_cli.targets import endpoint_of
        from openenv_gym.env import SpaceCoding
        from openenv_gym.env_spaces import read_env_spaces
        from openenv_gym.session.channel import Timeouts
        from openenv_gym.session.session import Session
        from openenv_gym.spaces.codecs import PayloadCodec
        from openenv_gym.transport.blocking import BlockingTransport
        from openenv_gym.transport.http import get_schemas

        endpoint, timeouts = endpoint_of(launch), Timeouts()
        schemas = get_schemas(endpoint, timeout_s=timeouts.connect_s)
        self._schema, _ = schemas
        self._interface = read_env_spaces(
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
        # The server judges what was typed: its model may take more than the space has.
        as_typed: EnvSpaces = self._interface._replace(action=PayloadCodec(self._interface.action.space))
        self._session = Session(endpoint, BlockingTransport(), SpaceCoding(as_typed), timeouts)
        self._launch, self._endpoint = launch, endpoint
        self._screen, self._lines = screen, lines
        self._renders = self._interface.server_renders is not None
        self._steps, self._return = 0, 0.0
        self._has_failed = False

    def play(self) -> bool:
        """Plays until the lines end, or a person leaves; returns whether a step has failed.

        Raises:
            OpenEnvError: There is no session to be had.
        """
        from openenv_cli.playing.asking import ask_action
        from openenv_cli.playing.lines import CommandTypedError

        try:
            self._screen.tell(f"{self._endpoint}. :help shows the commands, ? what a question means.")
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
        """Does what a command says; returns whether the game goes on."""
        match words:
            case ["quit" | "q"]:
                return False
            case ["reset"]:
                self._reset(None)
            case ["reset", seed] if seed.isdigit():
                self._reset(int(seed))
            case ["sample"]:
                action = self._interface.action.encode(self._interface.action.space.sample())
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
        self._screen.tell("A new episode" if seed is None else f"A new episode, of seed {seed}", "bold")
        if outcome.info.get("seed_ignored"):
            self._screen.tell("The environment takes no seed.")
        self._show(outcome)

    def _step(self, action: dict[str, Any]) -> None:
        from openenv_cli.messages import in_words, say
        from openenv_gym.errors import EndpointError, RemoteEnvironmentError, RemoteError, StepTimeoutError

        try:
            outcome = run(self._session.step(action, f"step {self._steps + 1}"))
        except (EndpointError, RemoteError) as error:
            if isinstance(error, RemoteEnvironmentError):
                self._launch.add_log(error)
            say("Error", in_words(error))
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
        """Shows an observation, and its picture."""
        payload = self._interface.observation.encode(outcome.observation)
        self._screen.show(payload, outcome.observation)
        if outcome.info:
            self._screen.show({"info": outcome.info})
        self._screen.show_render(self._rendered(outcome))

    def _rendered(self, outcome: Outcome) -> Any:
        from openenv_gym.errors import ConfigurationError

        if self._renders:
            try:
                return run(self._session.render())
            except ConfigurationError:  # the way there lets version 1 through only, which has no render
                self._renders = False
        image = self._interface.renderers.get("rgb_array")
        return image(outcome.observation) if image is not None and self._screen.has_pictures else None
