"""The application."""

from cart_env.models import CartAction, CartObservation, CartState
from cart_env.server.cart_environment import CartEnvironment

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.types import ConcurrencyConfig

print("making the application")

app = create_app(
    CartEnvironment,
    CartAction,
    CartObservation,
    env_name="cart_env",
    concurrency_config=ConcurrencyConfig(max_concurrent_envs=8, session_timeout=600.0),
    gradio_builder=None,
    custom_tab_name="Cart",
    title_override="Carts",
    state_cls=CartState,
)


@app.get("/")
def root() -> dict[str, str]:
    return {"page": "the author's"}
