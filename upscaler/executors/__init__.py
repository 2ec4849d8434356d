"""Places where tasks run beside this process, and the tasks, reports and results that go between, as data.

May import ``jobs`` and ``video``.
"""
