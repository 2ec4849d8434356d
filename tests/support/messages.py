"""What a job says, collected."""

from upscaler.inference.engine import Upscaler
from upscaler.results import Message


class Messages(list[str]):
    """The texts of all messages in order; pass it as ``on_message``.

    Attributes:
        warnings: The texts of those that are warnings.
    """

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def __call__(self, message: Message) -> None:
        self.append(message.text)
        if message.severity == "warning":
            self.warnings.append(message.text)


def held_by(engine: Upscaler) -> Messages:
    """What an engine said outside a job, which it holds for the next one."""
    messages = Messages()
    with engine.messages_to(messages):
        return messages
