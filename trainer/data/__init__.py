"""Photographs and crops: finding, decoding, caching and drawing them.

May import degrade, config and upscaler's images.
"""
