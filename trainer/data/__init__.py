"""Photographs, clips and crops: finding, pairing, decoding, caching and drawing them.

May import ``degrade``, ``images``, ``video``, ``inference`` and ``models`` (for luma).
"""
