"""Running the networks: engine, plan, tiles, precision, memory, overlap of copies and computation.

May import ``models``; does not know image or video files.
"""
