"""What is kept of a video job beside its target, so that an interrupted job resumes.

May import video, inference, options, atomic and errors.
"""
