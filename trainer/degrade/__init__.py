"""How LR images are degraded: downscaling, blur, noise, JPEG, H.264.

May import errors and the YUV conversion of upscaler.video.
"""
