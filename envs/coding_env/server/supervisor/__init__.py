"""The processes that confine and run programs; `server.sandbox` starts them."""
