"""Files in object stores, by URL: listed, fetched to a local folder when needed, and results uploaded.

Nothing else knows about URLs: the rest of the program sees local files. May import ``jobs`` and
``resume``.
"""
