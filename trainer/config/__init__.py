"""Settings of a training run: fields with defaults and ranges, presets, and how they are resolved.

May import ``degrade``, ``inference`` and ``models``. The recipes of the shipped weights are in ``recipes/``.
"""
