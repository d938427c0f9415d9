"""The CartPole of server.py as an application, for ``openenv-gym serve --app app:app``."""

from openenv.core.env_server import create_app
from server import CartPole, Poles, Push

app = create_app(CartPole, Push, Poles, env_name="cartpole", max_concurrent_envs=100)
