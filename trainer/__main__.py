"""``upscale-train`` and ``upscale-eval``: interrupts are held back before anything else is loaded.

``python -m upscaler.trainer``, which is what torchrun starts, is ``upscale-train``.
"""

from upscaler.commands.interrupts import INTERRUPTS
from upscaler.system import console


def train() -> None:
    """Entry point of ``upscale-train``."""
    INTERRUPTS.hold()
    console.let_streams_print_all()
    from upscaler.trainer.cli import app

    app()


def evaluate() -> None:
    """Entry point of ``upscale-eval``."""
    INTERRUPTS.hold()
    console.let_streams_print_all()
    from upscaler.trainer.eval_cli import app

    app()


if __name__ == "__main__":
    train()
