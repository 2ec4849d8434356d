"""Settings of a training run: fields with defaults and ranges, presets, and their resolution.

May import upscaler.models and errors; recipes for the shipped weights lie beside it in ``recipes/``.
"""
