"""What a network is: architectures, their contract, and the weight file. Imports torch and errors only.

Importing the package itself loads nothing, so that the table of shipped weights is there without torch.
"""
