"""The ``upscale`` command: parameters, progress bar, forecast, JSON report and exit codes.

May import ``batch``, ``course``, ``dry_run``, ``jobs``, ``resume``, ``inference``, ``images`` and
``models``; nothing imports it.
"""
