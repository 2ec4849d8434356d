"""The networks, their contract, and weight files, our own and those of other projects.

May import no other room, and of libraries only torch, safetensors, spandrel and platformdirs. Importing the
package itself loads nothing, so that the table of shipped weights can be read without torch.
"""
