"""Networks at work: the engine, its plan, tiles, precision, memory and the overlap of copies.

May import models, options, pixels and errors; knows neither images nor video.
"""
