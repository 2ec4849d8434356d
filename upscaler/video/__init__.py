"""Video files: read frames with their PTS, encode segments, merge them with the source's other streams.

May import options, results, atomic and errors; knows neither inference nor images. ``formats`` and ``codecs``
are tables without heavy imports, which every room may read.
"""
