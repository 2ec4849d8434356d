"""All jobs of one call: planned, checked and run in order, or only foretold (``--dry-run``).

May import ``comparison``, ``executors``, ``pipeline``, ``still_pipeline``, ``video_pipeline``,
``large_stills``, ``frames``, ``jobs``, ``remote``, ``resume``, ``inference``, ``images``, ``video`` and
``models``.
"""
