"""Networks, their contract, and weight files. May import torch, safetensors, atomic and errors only.

Importing the package itself loads nothing, so that the table of shipped weights can be read without torch.
"""
