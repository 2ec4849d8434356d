"""The ``upscale`` command: parameters, progress bar, forecast, JSON report and exit codes.

May import everything but the trainer; nothing imports it. Only commands print and exit.
"""
