"""What operating systems do differently: the only place that asks which one this is.

Every name says what it gives, on each system by its own means. Tests run the commands where what Windows and
macOS lack is taken away (``tests/support/other_system.py``).
"""
