"""How LR images are degraded: downscaling, blur, noise, JPEG, H.264. Start at ``degradations``.

May import ``video`` (for YUV conversion) and ``models`` (for luma).
"""
