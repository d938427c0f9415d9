"""Checks of a server's sessions: what trainers do, and Gymnasium's own `check_env`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import zip_longest
from typing import Any

from openenv_cli.validation.check import Check, CheckResult, counted, failed, passed, skipped, warning
from openenv_cli.validation.episodes import SEED, Episode, Player, first_difference
from openenv_cli.validation.server import Server
from openenv_gym.errors import ActionRefusedError, OpenEnvError, RemoteEnvironmentError, RemoteError, excerpt
from openenv_gym.session.recovery import retry
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.http import get_schemas
from openenv_gym.wire.codes import ErrorCode

_BOUNDS_FIX = (
    "Declare the field's real bounds in the observation model, or keep the value within them. An observation "
    "made with model_construct is not checked by its model."
)
_SAMPLES_FIX = (
    "Declare in the model what is allowed: Literal[…], ge= and le=, pattern=, or Field(examples=[…]), from "
    "which texts are sampled."
)
_CHECK_ENV_FIX = "Fix what it reports; the same rules apply to every gymnasium.Env."
_SHARED_FIX = (
    "Keep what an episode changes in the instance: not in global variables, class attributes, files, shared "
    "connections, the global random generators or the working directory. If a library disturbs itself, set "
    "SUPPORTS_CONCURRENT_SESSIONS = False; with --workers, each process has its own."
)
# A field that no environment has.
_UNKNOWN = "openenv_validate_no_such_field"


def _websocket(server: Server) -> CheckResult:
    connection = BlockingConnection(server.endpoint, connect_timeout_s=server.timeout_s, offers_v2=True)
    version = 2 if connection.is_v2 else 1
    connection.drop()
    return passed(f"{server.endpoint.websocket_url} speaks version {version} of the protocol")


def _reset(server: Server) -> CheckResult:
    # First the payload: an element of a space does not tell which field is wrong.
    with closing(Player(server)) as player:
        try:
            problem = player.problem(player.reset(SEED))
        except RemoteEnvironmentError as error:
            return _raised("reset", player.where, error)
        except RemoteError as error:
            if error.code != ErrorCode.FACTORY_ERROR:
                raise
            return failed(
                f"The environment cannot be created: {error.server_message}", "Fix that line in its __init__."
            )
    if problem:
        return failed(problem, _BOUNDS_FIX)
    with closing(server.env()) as env:
        observation, info = env.reset(seed=SEED)
    notes = ["It ignores the seed: its reset has no parameter `seed`"] if info.get("seed_ignored") else []
    return passed(f"The first observation: {excerpt(observation)}", notes=notes)


def _step(server: Server) -> CheckResult:
    problem = ""
    with closing(Player(server)) as player:
        try:
            problem = player.play_long()
        except ActionRefusedError:
            if not player.steps:
                return warning(f"No sampled action is accepted: {player.refusal}", _SAMPLES_FIX)
        except RemoteEnvironmentError as error:
            return _raised("step", player.where, error)
    if problem:
        return failed(problem, _BOUNDS_FIX)
    if player.refused:
        return warning(
            f"{player.refused} of {counted(player.refused + player.steps, 'sampled action')} were refused. "
            f"The last: {player.refusal}",
            _SAMPLES_FIX,
        )
    # As trainers do it: over the best protocol version that both speak.
    with closing(server.env()) as env:
        env.action_space.seed(SEED)
        env.reset(seed=SEED)
        env.step(env.action_space.sample())
    return passed(
        f"{counted(player.steps, 'sampled action')} in {counted(player.episodes, 'episode')}: each "
        "observation fits its schema and its space"
    )


def _raised(method: str, where: str, error: RemoteEnvironmentError) -> CheckResult:
    return failed(
        f"{where}: {method} raised {error.server_message}",
        "Fix that line, or add a missing `return` of an observation. Answer an agent's mistakes with an "
        "observation, or narrow the action model to rule them out.",
    )


def _state(server: Server) -> CheckResult:
    with closing(server.client()) as client:
        retry(lambda: client.reset(seed=SEED), server.capacity_timeout_s)
        state = client.state()
    return passed(f"The state after a reset: {excerpt(state)}")


def _seed(server: Server) -> CheckResult:
    with closing(Player(server)) as player:
        first, again = player.play(), player.play()
    with closing(Player(server)) as player:
        elsewhere = player.play()
    for other, where in ((again, "a second time in the same session"), (elsewhere, "in another session")):
        if difference := first_difference(first, other):
            fix = (
                "Give reset the parameter `seed: int | None = None`, and derive all randomness from it."
                if first.seed_is_ignored
                else "Derive all randomness from reset's seed, with a generator per instance, and let reset "
                "forget the last episode. What must differ, such as an id or a time, belongs in the state."
            )
            return failed(f"With seed {SEED} {where}, {difference}", fix)
    notes = ["Its reset ignores the seed, and nothing in it is random"] if first.seed_is_ignored else []
    return passed(f"Three episodes with seed {SEED}, in two sessions, are equal", notes=notes)


def _isolation(server: Server) -> CheckResult:
    if server.sessions_at_once == 1:
        return skipped("The server allows one session at a time")
    alone, again, other = (_in_one_session(server, seed) for seed in (SEED, SEED, SEED + 1))
    # Ids and times in a state differ every time.
    steady = {name for name, value in alone.state.items() if again.state.get(name) == value}
    for how, play in (("in turns", _in_turns), ("at the same time", _at_once)):
        with closing(Player(server)) as one, closing(Player(server)) as two:
            try:
                episodes = play(one, two)
            except RemoteEnvironmentError as error:
                return failed(
                    f"Beside another session ({how}), it raised {error.server_message}", _SHARED_FIX
                )
        for expected, found in zip((alone, other), episodes, strict=True):
            difference = first_difference(expected, found) or _state_difference(expected, found, steady)
            if difference:
                return failed(
                    f"An episode alone and one beside another session ({how}) differ at {difference}",
                    _SHARED_FIX,
                )
    return passed("Two sessions give the same as each alone, in turns and at the same time")


def _in_one_session(server: Server, seed: int) -> Episode:
    with closing(Player(server)) as player:
        return player.play(seed)


def _in_turns(one: Player, other: Player) -> list[Episode]:
    rounds = [*zip_longest(one.playing(SEED), other.playing(SEED + 1))]
    return [[episode for episode in episodes if episode][-1] for episodes in zip(*rounds, strict=True)]


def _at_once(one: Player, other: Player) -> list[Episode]:
    with ThreadPoolExecutor(2) as threads:
        return [*threads.map(Player.play, (one, other), (SEED, SEED + 1))]


def _state_difference(expected: Episode, found: Episode, names: set[str]) -> str:
    for name in sorted(names):
        if expected.state[name] != found.state.get(name):
            return f"the end: state.{name} is first {expected.state[name]!r}, then {found.state.get(name)!r}"
    return ""


def _invalid_action(server: Server) -> CheckResult:
    schema, _ = get_schemas(server.endpoint, timeout_s=server.timeout_s)
    action = invalid_action(schema)
    if action is None:
        return warning(
            "Its action schema allows everything, so no action is invalid",
            "Make the action a subclass of Action with a type for each field.",
        )
    with closing(server.client()) as client:
        retry(lambda: client.reset(seed=SEED), server.capacity_timeout_s)
        try:
            client.step(action)
        except ActionRefusedError as error:
            refusal = str(error)
        except RemoteError as error:
            return failed(
                f"It responds to {action} with {error.code}, not VALIDATION_ERROR: {error}",
                "Pass the action model to create_app, and let it validate the fields.",
            )
        else:
            return failed(
                f"It accepts the action {action}, which its own schema does not allow",
                "Pass the model that step expects to create_app, and let it forbid unknown fields.",
            )
        try:
            with suppress(ActionRefusedError):
                client.step(action)
            client.reset(seed=SEED)
        except OpenEnvError as error:
            return failed(
                f"After a refused action, the session is unusable: {error}",
                "Look for validators in models.py that do more than raise ValueError.",
            )
    return passed(f"{refusal}\nThe session continued")


def invalid_action(schema: dict[str, Any]) -> dict[str, Any] | None:
    """An action that its schema does not allow; None if it allows all candidates."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    candidates: list[dict[str, Any]] = [{_UNKNOWN: 1}]
    # No field accepts both of these: one is not text, the other only text. `metadata` is a field of the base
    # class, so it says nothing about this action.
    names = [name for name in schema.get("properties", {}) if name != "metadata"]
    candidates += [{name: wrong} for name in names for wrong in ({_UNKNOWN: 1}, "no")]
    return next((action for action in candidates if not validator.is_valid(action)), None)


def _check_env(server: Server) -> CheckResult:
    import gymnasium as gym
    from gymnasium.utils.env_checker import check_env

    import openenv_gym  # noqa: F401 - registers openenv/remote

    made = gym.make(
        "openenv/remote",
        base_url=server.base_url,
        connect_timeout_s=server.timeout_s,
        reset_timeout_s=server.timeout_s,
        step_timeout_s=server.timeout_s,
        capacity_timeout_s=server.capacity_timeout_s,
        disable_env_checker=True,
    )
    notes = []
    # Each render mode is tried in a second session.
    is_single = server.sessions_at_once == 1
    if is_single and made.metadata["render_modes"]:
        notes.append("Rendering was not checked: it needs two sessions, and the server allows one")
    with closing(made):
        env: gym.Env[Any, Any] = made.unwrapped
        try:
            check_env(env, skip_render_check=is_single)
        except ActionRefusedError as error:
            return warning(f"check_env sampled an action that is refused: {error}", _SAMPLES_FIX, notes=notes)
        except OpenEnvError:
            raise
        except Exception as error:  # AssertionError, TypeError, gymnasium.error.Error and others
            return failed(f"check_env: {str(error) or type(error).__name__}", _CHECK_ENV_FIX, notes=notes)
    return passed("check_env found no errors", notes=notes)


_STEPS = ("session.step",)
SESSION_CHECKS = (
    Check(
        "session.websocket",
        "A WebSocket opens at /ws",
        _websocket,
        fix="Make the application with create_app. A proxy in front of it must forward WebSockets.",
        needs=("server.start",),
    ),
    Check(
        "session.reset",
        "A session opens, and reset returns an observation",
        _reset,
        fix="Fix the environment's __init__ and reset. The observation must fit its model.",
        needs=("session.websocket", "schemas.spaces"),
    ),
    Check(
        "session.step",
        "It accepts sampled actions",
        _step,
        fix="Fix the environment's step. The observation must fit its model.",
        needs=("session.reset",),
    ),
    Check(
        "session.state",
        "It returns its state",
        _state,
        fix="Return a State from the property `state`.",
        needs=_STEPS,
    ),
    Check(
        "session.seed",
        "The same seed gives the same episode",
        _seed,
        fix="Make reset start from scratch, whatever happened before.",
        needs=_STEPS,
    ),
    Check(
        "session.bad_action",
        "An invalid action is refused, and the session continues",
        _invalid_action,
        fix="Let the action model validate the fields.",
        needs=_STEPS,
    ),
)
GYMNASIUM_CHECKS = (
    Check(
        "session.isolation",
        "Sessions do not disturb each other",
        _isolation,
        fix=_SHARED_FIX,
        needs=("session.seed", "session.capacity"),
    ),
    Check(
        "gymnasium.check_env",
        "Gymnasium's check_env passes on RemoteEnv",
        _check_env,
        fix=_CHECK_ENV_FIX,
        needs=("session.seed", "session.capacity"),
    ),
)
