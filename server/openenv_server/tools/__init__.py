"""Environments whose actions call tools, and the Model Context Protocol.

environment  `MCPEnvironment`, whose tools are functions
jsonrpc      the requests of the protocol, answered by an environment
routes       the protocol over HTTP and over a WebSocket
"""
