"""The two training stages: losses, optimizer, EMA, teacher, processes.

May import ``config``, ``inference`` and ``models``; does not know the run.
"""
