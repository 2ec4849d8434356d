"""The folder ``NAME.run`` beside a weight file, and its files: settings, lists, weights with their cards."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from upscaler import __version__, atomic
from upscaler.errors import TrainingError, WeightsError
from upscaler.inference import devices
from upscaler.models import weight_file
from upscaler.models.contract import Network
from upscaler.system import disk, folder_lock
from upscaler.system.folder_lock import FolderLock
from upscaler.trainer.config import resolve
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.data.sources import RUN_SUFFIX
from upscaler.trainer.run import model_card, sample_sheets, state_file
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.stage import Stage

# What ``--restart`` deletes.
_FILES_OF_A_RUN = (
    "state.pt",
    "metrics.csv",
    "samples.png",
    "progress.png",
    "degraded.png",
    "left-out.txt",
    "best-stage*.safetensors",
    "best-stage*.md",
    "samples/step_*.png",
    "events.out.tfevents.*",
)


class RunFolder:
    """The folder of a run; only rank 0 writes.

    Args:
        config: Settings of the run.
        world: The processes of the run.

    Attributes:
        path: The folder.
    """

    def __init__(self, config: TrainConfig, world: World) -> None:
        self._config, self._world = config, world
        self._has_locks = True
        self.path = Path(config.output).with_suffix(RUN_SUFFIX)

    @property
    def state_path(self) -> Path:
        """The file with the state of the training."""
        return self.path / "state.pt"

    @property
    def _discriminator_path(self) -> Path:
        output = Path(self._config.output)
        return output.with_stem(f"{output.stem}-discriminator")

    def best_weights_path(self, stage: int) -> Path:
        """The file with the best weights of a stage."""
        return self.path / f"best-stage{stage}.safetensors"

    @contextlib.contextmanager
    def locked(self, *, restart: bool) -> Iterator[None]:
        """Create the folder and keep other runs out of it.

        Args:
            restart: Delete the files of the earlier run.

        Raises:
            TrainingError: The folder cannot be written, or another run uses it; in all processes alike.
        """
        with contextlib.ExitStack() as lock:
            # Rank 0 does it; the others wait for it.
            failure = self._world.broadcast_object(
                self._prepare(restart, lock) if self._world.is_rank_zero else None
            )
            if failure:
                raise TrainingError(*failure)
            yield

    def _prepare(self, restart: bool, lock: contextlib.ExitStack) -> tuple[str, str] | None:
        """Message and hint of what failed, if something did."""
        output = self._config.output
        if Path(output).is_dir():
            return f"'{output}' is a folder", "use the name of a file"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = FolderLock(self.path)
            lock.callback(held.release)
            self._has_locks = held.works
            self._remove_leftovers()
            if restart:
                self._delete_files()
        except BlockingIOError:
            return f"another upscale-train is writing '{output}'", "wait for it, or stop it"
        except OSError as error:
            return f"cannot write '{self.path}': {error.strerror}", ""
        return None

    def _remove_leftovers(self) -> None:
        """Remove what a killed run has left half written; no other run writes these files now."""
        for folder in (self.path, self.path.parent):
            atomic.remove_leftovers(folder)
        files = [*map(self._config.stage_file, self._config.stage_numbers()), self._discriminator_path]
        named = [path for file in files for path in (file, file.with_suffix(".md"))]
        for path in (*map(atomic.part_of, named), *self.path.glob(atomic.part_of(Path("*")).name)):
            path.unlink(missing_ok=True)

    def _delete_files(self) -> None:
        for pattern in _FILES_OF_A_RUN:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def write_settings(self) -> None:
        """Write ``config.toml``: every setting, for ``--config``, and the versions as comments."""
        if not self._world.is_rank_zero:
            return
        versions = {
            "upscaler": __version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "device": devices.describe(self._world.device),
        }
        state_file.write_text(self.path / "config.toml", resolve.as_toml(self._config, versions))

    def write_data_report(self, photos: Photos) -> list[str]:
        """Write which files are left out, and with ``show_degraded`` a page of LR images.

        Returns:
            Lines for the user.
        """
        if not self._world.is_rank_zero:
            return []
        lines = [] if self._has_locks else [folder_lock.NO_LOCKS]
        if line := disk.missing_durability(self.path):
            lines.append(line)
        if photos.left_out:
            listing = self.path / "left-out.txt"
            state_file.write_text(listing, "\n".join(photos.left_out) + "\n")
            lines.append(f"files left out, with reasons: {listing}")
        if self._config.show_degraded:
            page = self.path / "degraded.png"
            shown = photos.training if isinstance(photos.training, list) else photos.held_out
            sample_sheets.write_degraded(page, shown, self._config.scale, self._config.degradation)
            lines.append(f"examples of LR images: {page}")
        return lines

    def write_best_as_output(self, stage: int) -> None:
        """Write the best weights of a stage to its output, where those of an earlier run may be.

        Raises:
            TrainingError: They cannot be read or written.
        """
        try:
            best = weight_file.load(self.best_weights_path(stage))
            self.write_weights(self._config.stage_file(stage), best.network(), best.training)
        except WeightsError as error:
            raise TrainingError(error.message, error.hint) from error

    def write_discriminator(self, stage: Stage) -> None:
        """Write the weights of a stage's discriminator, if it has one, beside the output.

        Raises:
            TrainingError: They cannot be written.
        """
        try:
            stage.save_discriminator(self._discriminator_path)
        except WeightsError as error:
            raise TrainingError(error.message, error.hint) from error

    def write_weights(self, path: Path, network: Network, training: dict[str, Any]) -> None:
        """Write a weight file and its model card.

        Args:
            path: The weight file.
            network: With the weights.
            training: How they were trained, for the metadata and the card.

        Raises:
            TrainingError: They cannot be written.
        """
        try:
            weight_file.save(path, network, network.state_dict(), training)
        except WeightsError as error:
            raise TrainingError(error.message, error.hint) from error
        state_file.write_text(path.with_suffix(".md"), model_card.text(path.stem, network, training))
