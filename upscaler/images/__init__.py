"""Still images and animations: reading and writing them with their metadata. Start at ``stills``.

May import no other room. ``formats`` is a table without heavy imports, which every room may read.
"""
