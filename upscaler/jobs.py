"""Input paths -> a list of jobs: what is upscaled, where it goes, and every refusal before work starts."""

PICTURE_SUFFIXES = {
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
}
