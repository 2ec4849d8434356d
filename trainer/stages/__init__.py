"""The two training stages: losses, optimizer, EMA, teacher, processes.

May import config and upscaler.models; knows nothing of the run.
"""
