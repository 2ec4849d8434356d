"""Photographs and crops: finding, pairing, decoding, caching and drawing them.

May import ``degrade``, ``images`` and ``inference``.
"""
