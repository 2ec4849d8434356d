"""Photographs and crops: finding, pairing, decoding, caching and drawing them.

May import degrade, config and upscaler's images.
"""
