"""What a user may choose about the encoding of an image."""

from dataclasses import dataclass
from typing import Any

from upscaler.images.formats import ImageFormat
from upscaler.options import ImageOptions


@dataclass(frozen=True)
class Encoding:
    """How an image is encoded.

    Attributes:
        quality: Of AVIF, JPEG and WebP, 1 to 100; ``None`` for the format's own.
        lossless: Write WebP without loss, whatever the source was.
        keep_hidden: Write the colours of fully transparent pixels as they are, which WebP would replace.
    """

    quality: int | None = None
    lossless: bool = False
    keep_hidden: bool = False

    def arguments(self, image_format: ImageFormat, *, source_is_lossless: bool) -> dict[str, Any]:
        """Arguments for Pillow's ``save``.

        Args:
            image_format: The format to write.
            source_is_lossless: Whether the source is a lossless WebP, which stays one unless a quality is
                asked for.
        """
        arguments = dict(image_format.save_arguments)
        if self.quality is not None and image_format.has_quality:
            arguments["quality"] = self.quality
        elif image_format.name == "WEBP" and (self.lossless or source_is_lossless):
            arguments["lossless"] = True
        if image_format.name == "WEBP" and self.keep_hidden:
            arguments["exact"] = True
        return arguments


USUAL = Encoding()


def encoding_of(options: ImageOptions) -> Encoding:
    """How images are encoded by these options."""
    return Encoding(options.quality, options.lossless, options.keep_hidden)
