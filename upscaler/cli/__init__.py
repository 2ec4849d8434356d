"""The ``upscale`` command: parameters, progress bar, forecast, JSON report and exit codes.

May import ``batch``, ``commands``, ``jobs``, ``remote``, ``resume``, ``inference``, ``images``
and ``models``; nothing imports it.
"""
