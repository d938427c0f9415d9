"""Checks of a running server's sessions: what trainers do with it."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any

from openenv_cli.validation.check import Check, Finding, failed, passed, warning
from openenv_cli.validation.episodes import SEED, Player, first_difference
from openenv_cli.validation.server import TURN_TIMEOUT_S, Server
from openenv_gym.errors import ActionRefusedError, OpenEnvError, RemoteEnvironmentError, RemoteError
from openenv_gym.session.recovery import retry
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.http import get_schemas
from openenv_gym.wire.codes import ErrorCode

_BOUNDS_FIX = (
    "Give the field in the observation's model the bounds that it has, or keep it within them. Where it was "
    "made with model_construct, its model did not check it."
)
# A field that no environment has.
_UNKNOWN = "openenv_validate_no_such_field"


def _websocket(server: Server) -> Finding:
    connection = BlockingConnection(server.endpoint, connect_timeout_s=server.timeout_s, offers_v2=True)
    version = 2 if connection.is_v2 else 1
    connection.drop()
    return passed(f"{server.endpoint.websocket_url} speaks version {version} of the protocol")


def _reset(server: Server) -> Finding:
    # By the fields of the message first: of an element of a space nobody can tell which field it was.
    with closing(Player(server)) as player:
        try:
            wrong = player.objection(player.reset(SEED))
        except RemoteEnvironmentError as error:
            return _raised("reset", player.where, error)
        except RemoteError as error:
            if error.code != ErrorCode.FACTORY_ERROR:
                raise
            said = str(error).partition("reset: ")[2].removesuffix(f" ({error.code})")
            return failed(f"The environment cannot be made: {said}", "Mend the line in its __init__.")
    if wrong:
        return failed(wrong, _BOUNDS_FIX)
    with closing(server.env()) as env:
        observation, info = env.reset(seed=SEED)
    notes = ["It takes no seed: its reset has no parameter `seed`"] if info.get("seed_ignored") else []
    return passed(f"The first observation: {_excerpt(observation)}", notes=notes)


def _step(server: Server) -> Finding:
    with closing(Player(server)) as player:
        try:
            wrong = player.play_long()
        except ActionRefusedError as error:
            return failed(
                f"A sampled action, which its schema allows, is refused: {error}",
                "Say in the model what is allowed: Literal[…], ge= and le=, or Field(examples=[…]), from "
                "which texts are sampled.",
            )
        except RemoteEnvironmentError as error:
            return _raised("step", player.where, error)
    if wrong:
        return failed(wrong, _BOUNDS_FIX)
    # As trainers do it: over the best version of the protocol that both speak.
    with closing(server.env()) as env:
        env.action_space.seed(SEED)
        env.reset(seed=SEED)
        env.step(env.action_space.sample())
    return passed(
        f"{_count(player.steps, 'sampled action')} in {_count(player.episodes, 'episode')}: each observation "
        "is as its schema and its space say"
    )


def _raised(method: str, where: str, error: RemoteEnvironmentError) -> Finding:
    """The finding for a method that raised, or gave nothing."""
    if "returned NoneType" in str(error):
        return failed(
            f"{where}: {method} returned None; is a `return` missing?",
            f"Return an observation from {method}.",
        )
    said = str(error).partition("the environment raised ")[2].partition(" The session is still there;")[0]
    return failed(
        f"{where}: {method} raised {said or error}",
        "Mend that line; what an agent may do wrong belongs into an observation, or is ruled out where you "
        "narrow the action's model.",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _state(server: Server) -> Finding:
    with closing(server.client()) as client:
        retry(lambda: client.reset(seed=SEED), TURN_TIMEOUT_S)
        state = client.state()
    return passed(f"The state after a reset: {_excerpt(state)}")


def _seed(server: Server) -> Finding:
    with closing(Player(server)) as player:
        first, again = player.play(), player.play()
    with closing(Player(server)) as player:
        elsewhere = player.play()
    for other, where in ((again, "a second time in the same session"), (elsewhere, "in another session")):
        if difference := first_difference(first, other):
            fix = (
                "Give reset the parameter `seed: int | None = None`, and make all randomness from it."
                if first.seed_is_ignored
                else "Make all randomness from reset's seed, with a generator of the instance's own, and let "
                "reset forget the last episode. What has to differ, such as an id or a time, belongs into "
                "the state."
            )
            return failed(f"With seed {SEED} {where}, {difference}", fix)
    notes = ["Its reset takes no seed, and nothing in it is random"] if first.seed_is_ignored else []
    return passed(f"Three episodes with seed {SEED}, in two sessions, are the same", notes=notes)


def _bad_action(server: Server) -> Finding:
    schema, _ = get_schemas(server.endpoint, timeout_s=server.timeout_s)
    bad = bad_action(schema)
    if bad is None:
        return warning(
            "Its action's schema allows everything, so nothing can be refused",
            "Let the action be a subclass of Action, with a type for each field.",
        )
    with closing(server.client()) as client:
        retry(lambda: client.reset(seed=SEED), TURN_TIMEOUT_S)
        try:
            client.step(bad)
        except ActionRefusedError as error:
            refusal = str(error)
        except RemoteError as error:
            return failed(
                f"To {bad} it answers {error.code}, not VALIDATION_ERROR: {error}",
                "Pass the action's model to create_app, and let it check the fields.",
            )
        else:
            return failed(
                f"It takes the action {bad}, which its own schema does not allow",
                "Pass the same model to create_app that step expects, and let it forbid unknown fields.",
            )
        try:
            with suppress(ActionRefusedError):
                client.step(bad)
            client.reset(seed=SEED)
        except OpenEnvError as error:
            return failed(
                f"After an action was refused, the session is of no use: {error}",
                "Look for validators in models.py that do more than raise ValueError.",
            )
    return passed(f"{refusal}\nThen the session went on")


def bad_action(schema: dict[str, Any]) -> dict[str, Any] | None:
    """An action that its schema does not allow; None where it allows all that was thought of."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    candidates: list[dict[str, Any]] = [{_UNKNOWN: 1}]
    # No field takes both of these: one is no text, and the other is nothing but text. `metadata` is the base
    # class's field, and says nothing of this action.
    names = [name for name in schema.get("properties", {}) if name != "metadata"]
    candidates += [{name: wrong} for name in names for wrong in ({_UNKNOWN: 1}, "no")]
    return next((action for action in candidates if not validator.is_valid(action)), None)


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


_STEPS = ("session.step",)
SESSION_CHECKS = (
    Check(
        "session.websocket",
        "A WebSocket opens at /ws",
        _websocket,
        fix="Make the application with create_app; a proxy before it has to pass WebSockets on.",
        needs=("server.start",),
    ),
    Check(
        "session.reset",
        "A session opens, and reset gives an observation",
        _reset,
        fix="Mend the environment's __init__ and reset; the observation has to fit its own model.",
        needs=("session.websocket", "schemas.spaces"),
    ),
    Check(
        "session.step",
        "It takes sampled actions",
        _step,
        fix="Mend the environment's step; the observation has to fit its own model.",
        needs=("session.reset",),
    ),
    Check(
        "session.state",
        "It gives its state",
        _state,
        fix="Let the property `state` return a State.",
        needs=_STEPS,
    ),
    Check(
        "session.seed",
        "The same seed twice gives the same episode",
        _seed,
        fix="Let reset start anew, whatever came before.",
        needs=_STEPS,
    ),
    Check(
        "session.bad_action",
        "A bad action is refused, and the session survives",
        _bad_action,
        fix="Let the action's model check the fields.",
        needs=_STEPS,
    ),
)
