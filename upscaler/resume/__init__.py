"""What is kept of a video job next to its target, and how an interrupted job continues from it.

May import ``video`` and ``inference``.
"""
