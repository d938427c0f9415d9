"""The life of sessions on a server: open, reset, step, resume, retry, give up.

`session.Session` is one session, and a `channel.Channel` the sessions that share one WebSocket, with an
implementation for each version of the protocol. All of it is written once, as coroutines over the protocols
of `openenv_gym.transport.connection`, for blocking and for asyncio callers.
"""
