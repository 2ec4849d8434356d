"""Running the networks: engine, plan, tiles, precision, memory, overlap of copies and computation.

May import models, options, pixels and errors; knows neither images nor video.
"""
