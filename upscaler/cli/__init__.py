"""The command line: parameters, batches, the progress bar, the JSON report and exit codes.

May import everything but the trainer; nothing imports it. Only this room prints and exits.
"""
