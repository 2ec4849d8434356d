"""``python -m upscaler.trainer``, which is what torchrun starts: the same as ``upscale-train``."""

from upscaler.trainer.cli import main

main()
