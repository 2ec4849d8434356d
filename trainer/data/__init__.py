"""Photographs and crops: finding, pairing, decoding, caching and drawing them.

May import ``degrade``, ``images``, ``inference`` and ``models`` (for luma).
"""
