"""Still pictures and animations: reading and writing them with everything that belongs to them.

May import atomic, pixels, results and errors; knows neither inference nor video.
"""
