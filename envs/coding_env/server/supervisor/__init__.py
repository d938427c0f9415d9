"""The processes in which programs are confined and run; each is started by `server.sandbox`."""
