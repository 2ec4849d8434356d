"""The frames of a video between decoder and target: planned, upscaled, written as images or y4m.

May import ``jobs``, ``inference``, ``images`` and ``video``.
"""
