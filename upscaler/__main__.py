"""``upscale`` and ``python -m upscaler``: interrupts are deferred before anything else loads."""

from upscaler.commands.interrupts import INTERRUPTS
from upscaler.system import console


def main() -> None:
    """Entry point of the command."""
    INTERRUPTS.hold()
    console.let_streams_print_all()
    from upscaler.cli.app import app

    app()


if __name__ == "__main__":
    main()
