"""Any file that ``--model`` takes: ours, or one of another project."""

from pathlib import Path

from upscaler.models import community, weight_file
from upscaler.models.checkpoint import SUFFIXES, check_format
from upscaler.models.community import CommunityFile
from upscaler.models.weight_file import WeightFile

ModelFile = WeightFile | CommunityFile


def load(path: Path) -> ModelFile:
    """Load a weight file; ours are recognised by their metadata.

    Raises:
        WeightsError: The file is missing or damaged, or of an architecture that cannot be run.
    """
    check_format(path)
    if weight_file.is_ours(path) or not path.is_file():
        return weight_file.load(path)
    return community.load(path)


def is_model_path(path: Path) -> bool:
    """Whether this means a file rather than the name of a model."""
    return path.suffix.lower() in SUFFIXES or path.is_file()
