"""A training run: state, session, checkpoints, validation, and the files of a run.

May import ``stages``, ``data``, ``degrade``, ``config``, ``evaluation``, ``images``, ``inference``,
``metrics`` and ``models``.
"""
