"""START HERE: the path of a frame, from file to file, through ``upscale_still`` or ``upscale_video``.

Each reads from top to bottom in the order in which things happen. For a still (``still_pipeline.py``):

1. ``images/stills.py`` reads pixels, alpha and metadata, ``images/animation.py`` the frames of an animation.
   What is too large for memory goes through in rows (``large_stills.py``).
2. ``inference/engine.py`` plans tiles and runs the network; ``transparency.py`` upscales alpha.
3. ``images/stills.py`` writes a new file, which gets its name when it is complete.

For a video (``video_pipeline.py``):

1. ``video/survey.py`` looks through the file. ``video/stream_plan.py`` decides what becomes of audio,
   subtitles and the other streams, ``frames/video_plan.py`` sizes, encoder and segments.
2. ``resume/begin.py`` finds what an earlier run left in the job folder next to the target.
3. ``frames/video_range.py`` encodes the frames that are missing: one thread demuxes and decodes
   (``video/reader.py``), this one runs the network (``frames/video_frames.py``, or ``frames/film_frames.py``
   for a network that sees frames before), a third encodes into segments (``video/segments.py``). The queues
   between them (``video/threads.py``) are short and hold planes.
4. ``video/mux.py`` merges the segments with the other streams, and ``video/verify.py`` reads the file again
   before it gets its name.
"""

from upscaler.still_pipeline import upscale_still
from upscaler.video_pipeline import upscale_video

__all__ = ["upscale_still", "upscale_video"]
