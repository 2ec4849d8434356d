"""The two training stages: pixel and adversarial step, losses, optimizer, teacher, processes.

May import config and upscaler.models; knows nothing of the run.
"""
