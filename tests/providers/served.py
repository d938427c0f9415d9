"""An application with an import path."""

from __future__ import annotations

from openenv_server import create_app

from tests.support.environments import CountAction, Counter, CountObservation

app = create_app(Counter, CountAction, CountObservation, env_name="counter")
