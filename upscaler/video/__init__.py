"""Video files: read frames with their PTS, encode segments, merge them with the source's other streams.

May import no other room. ``formats`` and ``codecs`` are light tables, which every room may read.
"""
