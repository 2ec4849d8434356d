"""Still images and animations: reading and writing them with their metadata.

May import atomic, pixels, results and errors; knows neither inference nor video. Start at ``stills``.
"""
