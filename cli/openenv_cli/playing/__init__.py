"""The parts of ``openenv play``.

questions    a field's JSON Schema as a question, and its answer as a value
prompts      read lines, and ask for an action
screen       show observations, states and images
"""
