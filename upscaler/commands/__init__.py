"""What all three commands share: parameters from options, help and version, interrupts.

May import leaves only.
"""
