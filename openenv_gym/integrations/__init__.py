"""Adapters for other libraries, one module for each, which is the only one that imports that library."""
