"""A training run: its state and session, its files, and its validation.

May import stages, data, config and evaluation.
"""
