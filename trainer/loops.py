"""MAIN FLOW: a patch's way, from a photograph into the weights.

``train`` is a run from beginning to end. What happens to a batch is in ``pixel.PixelStage.step`` (stage one)
and ``adversarial.AdversarialStage.step`` (stage two).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from upscaler.inference import devices
from upscaler.models import weight_file
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos, load_photos
from upscaler.trainer.run.session import Target, TrainingReport, Work
from upscaler.trainer.run.train_state import Run
from upscaler.trainer.stages import distributed
from upscaler.trainer.stages.adversarial import AdversarialStage, perceptual_network
from upscaler.trainer.stages.forward import Forward, fast_forward
from upscaler.trainer.stages.pixel import PixelStage
from upscaler.trainer.stages.stage import Stage
from upscaler.trainer.stages.teacher import Teacher, teaching_network

_LOOK_EVERY_S = 0.5

# A step that took longer did not train so long: the process was stopped, or the machine asleep.
_LONGEST_STEP_S = 120.0
_FINISHED = "finished at step {} already: more --steps or --minutes go on, --restart begins anew"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: False when it was stopped early; the same command goes on.
        weights: The weight files, a finished stage's each; the last one is the output.
        psnr_db: Last validation Y-PSNR.
        steps: Steps done.
    """

    finished: bool
    weights: tuple[Path, ...]
    psnr_db: float
    steps: int


def train(
    config: TrainConfig,
    on_report: Callable[[TrainingReport], None],
    should_stop: Callable[[], bool] = lambda: False,
    restart: bool = False,
) -> Outcome:
    """Train one or both stages.

    An earlier run of the same settings is continued from its last state. The weight file of the stage is
    written at every validation, so that it always holds the newest averaged weights.

    Args:
        config: The settings.
        on_report: Called about twice a second and at every event; by the first process only.
        should_stop: Asked before every step; True saves the state and ends.
        restart: Forget an earlier run.

    Raises:
        TrainingError: The run cannot start, diverges again and again, or the disk is full. The last good
            state stays.
        UsageError: The settings differ from those of the run to be continued.
        WeightsError: The weights to start from, or those of VGG19, cannot be used.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with distributed.join_world(config.device) as world:
        if world.device.type == "cpu":
            devices.keep_freed_memory()
        run = Run(config, world)
        run.begin(restart)
        report = on_report if world.is_rank_zero else _nobody
        done = _already_done(run)
        if done:
            report(
                TrainingReport(run.step, 1.0, run.elapsed_s, run.stage, message=_FINISHED.format(run.step))
            )
            return done
        # Before the photographs are read: what cannot be had must not be found out an hour later.
        vgg = perceptual_network(config.gan, world.device) if 2 in config.stage_numbers() else None
        teacher = teaching_network(config.teacher, config.scale, world.device)
        photos = load_photos(
            config.photos,
            config.scale,
            _largest_patch_px(config),
            degradation=config.degradation,
            lr_dirs=config.lr_dirs,
            sizes=config.sizes,
            cache_folder=_existing(Path(config.output).parent),
        )
        # Only now: a misspelt folder of photographs must not cost an earlier run.
        with run.own_folder(restart):
            run.require_same(photos)
            if world.is_rank_zero:
                run.write_settings()
            crops = Crops(
                photos.training,
                config.scale,
                config.seed,
                config.degradation,
                world.device,
                flat_crop_drop_ratio=config.flat_crop_drop_ratio,
            )
            work = Work(run, photos, crops, report, should_stop, vgg, teacher)
            opening = _opening_lines(photos, run.step, _largest_patch_px(config))
            for line in opening + run.show_degraded(photos):
                work.say(line)
            return _train_stages(work)


def _train_stages(work: Work) -> Outcome:
    run, config = work.run, work.run.config
    module = run.world.wrap(run.network)
    batch, patch_px = work.part_shape()
    forward, note = fast_forward(
        module,
        run.world.device,
        precision=config.precision,
        compiled=config.compiled and not config.checkpointing,
        batch=batch,
        patch_px=patch_px,
    )
    if config.compiled and config.checkpointing:
        note = "checkpointing: training runs uncompiled"
    if note:
        work.say(note)
    written: list[Path] = []
    for number in config.stage_numbers():
        if number < run.stage:  # done before this run was continued
            written.append(config.stage_file(number))
            continue
        if number > run.stage:
            run.enter(number)
        stage = _stage(work, module, forward)
        finished = _train_stage(work, stage)
        written.append(config.stage_file(number))
        if not finished:
            break
    return Outcome(finished, tuple(written), work.scores.psnr_db, run.step)


def _stage(work: Work, module: torch.nn.Module, forward: Forward) -> Stage:
    """What the stage that the run is in trains, as far as an earlier run had come."""
    run, config = work.run, work.run.config
    stage: Stage
    if run.stage == 1:
        stage = PixelStage(run.network, module=module, forward=forward, config=config, world=run.world)
    else:
        stage = AdversarialStage(
            run.network,
            module=module,
            forward=forward,
            averaged=run.average_forward,
            settings=config.gan,
            side_px=work.shape()[1] * config.scale,
            world=run.world,
            precision=config.precision,
            seed=config.seed,
            vgg=work.vgg,
        )
    if run.saved is None:
        run.save(stage, work.crops)  # so that there is something to go back to
    run.restore_stage(stage, work.crops)
    work.guard.forget()
    return stage


def _train_stage(work: Work, stage: Stage) -> bool:
    """Train until the stage's share of the run is over, or somebody wants to stop; True when it is over."""
    run, world = work.run, work.run.world
    target = _target(work)
    last_tick = last_look = last_checkpoint = time.monotonic()
    while True:
        now = time.monotonic()
        run.elapsed_s, stop, look, due = world.broadcast(
            run.elapsed_s + min(now - last_tick, _LONGEST_STEP_S),
            work.should_stop(),
            now - last_look > _LOOK_EVERY_S,
            now - last_checkpoint > run.config.checkpoint_every_s,
        )
        last_tick = now
        finished = run.share() >= 1
        if finished or stop or due or look:
            last_look = now
            if work.went_back(stage):
                continue
        if finished or stop or due:
            if work.checkpoint(stage):
                last_checkpoint = time.monotonic()
            else:
                continue
        if finished or stop:
            return finished
        batch, patch_px = work.shape()
        drawn = time.monotonic()
        lr, hr = (world.shard(side) for side in work.crops.draw(batch * world.size, patch_px))
        work.data_wait_s += time.monotonic() - drawn
        work.guard.add(work.step(stage, lr, hr, target))
        run.average.follow(run.network, run.step - run.stage_step)
        run.step += 1


def _target(work: Work) -> Target:
    """What the network is to make of LR crops, from these and the originals."""
    run, config = work.run, work.run.config
    if work.teacher is None or run.stage == 2:
        return run.network.training_target
    batch, patch_px = work.part_shape()
    teacher = Teacher(
        work.teacher,
        precision=config.precision,
        compiled=config.compiled,
        batch=batch,
        patch_px=patch_px,
        tta=config.teacher_tta,
    )
    if teacher.note:
        work.say(teacher.note)
    return lambda lr, _hr: run.network.training_target(lr, teacher(lr))


def _largest_patch_px(config: TrainConfig) -> int:
    """The smallest LR side that a photograph must have."""
    first = (config.patch_px, config.phase2_patch_px if config.phase2_share else 0)
    sides = {1: max(first), 2: config.gan.patch_px}
    return max(sides[number] for number in config.stage_numbers())


def _already_done(run: Run) -> Outcome | None:
    """The outcome of a run that was finished before, if its weight files are still there."""
    files = tuple(run.config.stage_file(number) for number in run.config.stage_numbers())
    last = run.config.stage_numbers()[-1]
    if run.saved is None or run.stage != last or run.share() < 1 or not all(map(Path.is_file, files)):
        return None
    psnr_db = weight_file.load(files[-1]).training.get("psnr_db", math.nan)
    return Outcome(True, files, float(psnr_db), run.step)


def _nobody(_report: TrainingReport) -> None:
    """Where the reports of the other processes go."""


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())


def _opening_lines(photos: Photos, step: int, wanted_px: int) -> list[str]:
    lines = [f"going on from step {step}"] if step else []
    lines.append(f"{photos.photographs} photographs to train on, {len(photos.held_out)} held out")
    if photos.left_out:
        shown = ", ".join(photos.left_out[:5]) + (", ..." if len(photos.left_out) > 5 else "")
        lines.append(f"{len(photos.left_out)} files left out: {shown}")
    if photos.patch_px < wanted_px:
        lines.append(
            f"crops have at most {photos.patch_px} LR pixels a side: too few photographs hold {wanted_px}"
        )
    if photos.mapped:
        lines.append("photographs are kept in a file beside the output: memory does not hold them")
    return lines
