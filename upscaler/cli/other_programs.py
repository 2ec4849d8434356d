"""What people are used to from other programs, and what does the same here."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from upscaler.content import kind_of
from upscaler.errors import UsageError

_INPUT = "inputs need no option: upscale INPUT -o OUTPUT"
_MODEL = "--model NAME, or --model FILE"
_TILE, _TTA, _DEVICE = "--tile PIXELS", "--tta", "--device cuda:1"
_SIZE, _FORMAT, _PRECISION = "--size WIDTHxHEIGHT", "--format png, or the suffix of -o", "--precision fp16"
_CODEC, _OVERWRITE = "--codec hevc", "--overwrite"
_VERBOSE = "all lines are printed; UPSCALER_DEBUG=1 in the environment adds tracebacks to errors"
# Options of realesrgan-ncnn-vulkan, waifu2x, Real-ESRGAN, video2x, ffmpeg, yt-dlp and wget, as typed.
ANSWERS = {
    **dict.fromkeys(("-i", "--input", "--inputs", "--input-path"), _INPUT),
    **dict.fromkeys(("--out", "--out-dir", "--output-path", "--outdir"), "-o OUTPUT"),
    **dict.fromkeys(("-n", "--model-name", "--model_name", "--model-path", "--weights"), _MODEL),
    **dict.fromkeys(("--outscale", "--factor", "--upscale", "-r"), "--scale FACTOR"),
    **dict.fromkeys(("-t", "--tile-size", "--tilesize", "--tile_size"), _TILE),
    **dict.fromkeys(("-dn", "--denoise_strength", "--denoise-strength", "--noise-level"), "--denoise SHARE"),
    **dict.fromkeys(("-x", "--self-ensemble"), _TTA),
    **dict.fromkeys(("-g", "--gpu", "--gpu-id", "--gpu_id"), _DEVICE),
    **dict.fromkeys(("--no-gpu", "--no-cuda"), "--device cpu"),
    **dict.fromkeys(("-j", "--jobs", "--workers", "-threads"), "--threads COUNT"),
    **dict.fromkeys(("-w", "--width", "--height", "--resolution", "-vf"), _SIZE),
    **dict.fromkeys(("-f", "--ext", "--output-format"), _FORMAT),
    **dict.fromkeys(("--fp16", "--half"), _PRECISION),
    **dict.fromkeys(("--fp32", "--full-precision"), "--precision fp32"),
    **dict.fromkeys(("-c:v", "-vcodec", "--vcodec", "--video-codec"), _CODEC),
    **dict.fromkeys(("-c:a", "-acodec", "--acodec"), "--audio-codec aac"),
    **dict.fromkeys(("-pix_fmt", "--pix-fmt"), "--pixel-format yuv444p"),
    **dict.fromkeys(("-b:v", "-b", "--bitrate"), "--crf NUMBER sets the quality"),
    **dict.fromkeys(("-ss", "--from", "--seek"), "--start TIME"),
    **dict.fromkeys(("-to", "--to"), "--end TIME"),
    **dict.fromkeys(("-frames:v", "--limit"), "--frames COUNT"),
    "-an": "--no-audio",
    "-sn": "--no-subtitles",
    "--fps": "every frame keeps its own time",
    **dict.fromkeys(("--force", "--yes", "--replace"), _OVERWRITE),
    **dict.fromkeys(("--no-overwrite", "--no-clobber", "--no-overwrites", "-nc"), "--skip-existing"),
    **dict.fromkeys(("-v", "--verbose", "--debug"), _VERBOSE),
    **dict.fromkeys(("-V", "-version"), "--version"),
    "-silent": "--quiet",
    "--silent": "--quiet",
    "--simulate": "--dry-run",
    "--recursive": "folders are searched recursively",
    "-R": "folders are searched recursively",
}


def check_inputs(inputs: Sequence[Path], output: Path | None) -> None:
    """Ask about a last input that stands where other programs have their output.

    It does not exist, or it is the only other video: enlarging that, too, would take hours.

    Raises:
        UsageError: Says both things that could be meant.
    """
    if output is not None or len(inputs) < 2:
        return
    *first, last = inputs
    if not last.exists():
        if all(path.exists() for path in first):
            given = shlex.join(map(str, first))
            hint = f"if it is to be written: upscale {given} -o {shlex.quote(str(last))}"
            raise UsageError(f"'{last}' does not exist", hint)
        return
    if len(inputs) == 2 and all(path.is_file() and kind_of(path) == "video" for path in inputs):
        one, other = (shlex.quote(str(path)) for path in inputs)
        raise UsageError(
            f"is '{last}' an input or the output?",
            f"as output: upscale {one} -o {other} --overwrite; both as inputs: add -o FOLDER",
        )
