"""Running the networks: engine, plan, tiles, precision, memory, overlap of copies and computation.

May import models and the files beside this folder that every room may; knows neither image nor video files.
"""
