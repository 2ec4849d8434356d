"""Training and evaluation of weights: the commands, the training loops, and the rooms that they use.

May import the trainer's rooms and ``inference``; ``loops`` also ``models``. ``upscaler`` does not import it.
"""
