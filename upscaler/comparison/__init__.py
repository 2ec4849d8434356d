"""``--compare``: pages that show the result beside plain enlargement and originals.

May import ``jobs``, ``metrics``, ``images`` and ``inference``.
"""
