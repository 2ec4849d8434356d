"""START HERE: the path of a crop, from photograph to weights.

``train`` is a whole run; ``train_step`` is one step: draw, forward, loss, backward, step, EMA.
The losses are in ``stages/pixel.py`` (stage one) and ``stages/adversarial.py`` (stage two).
"""

import contextlib
import copy
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from upscaler.errors import UsageError
from upscaler.models import weight_file
from upscaler.system import disk, memory
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import load_photos, require_photos
from upscaler.trainer.run import forecast
from upscaler.trainer.run.crop_shapes import CropShape
from upscaler.trainer.run.opening import load_judges, opening_lines
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.run.session import TrainingSession
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.stages import distributed
from upscaler.trainer.stages.adversarial import AdversarialStage, perceptual_network, starting_discriminator
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.forward import Forward, TrialShape, fast_forward
from upscaler.trainer.stages.losses import accumulate
from upscaler.trainer.stages.pixel import PixelStage
from upscaler.trainer.stages.stage import MicroBatch, Stage, Terms
from upscaler.trainer.stages.teacher import Teacher, load_teacher

# Steps with each kind of crops that a forecast measures; the fastest counts.
_TRIAL_STEPS = 3


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: False if it was stopped early; the same call resumes it.
        weights: The weight file of every finished stage; the last one is the output.
        psnr_db: Y-PSNR of the output on the validation images.
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
    dry_run: bool = False,
) -> Outcome:
    """Train one or both stages.

    An interrupted run with the same settings resumes from its last state. The weight file of the stage is
    written at every validation and always holds the latest averaged weights.

    Args:
        config: Settings of the run.
        on_report: Called about twice a second and at every event, by rank 0 only.
        should_stop: Asked before every step; True saves the state and ends the run.
        restart: Start over instead of resuming.
        dry_run: Report what a new run would take, and leave nothing behind.

    Raises:
        TrainingError: The run cannot start, diverges again and again, or the disk is full. The last good
            state stays.
        UsageError: The settings differ from those of the run to be resumed; or ``restart``, and torchrun may
            start this process again.
        WeightsError: The weights to start from, or those of VGG19, cannot be used.
    """
    if dry_run:
        with tempfile.TemporaryDirectory(dir=disk.existing_folder(Path(config.output).parent)) as scratch:
            output = str(Path(scratch) / Path(config.output).name)
            return _train(replace(config, output=output), on_report, should_stop, restart=True, dry_run=True)
    if restart and distributed.starts_again():
        text = "with torchrun --max-restarts, --restart would start over after every lost process"
        raise UsageError(text, "leave out one of them")
    return _train(config, on_report, should_stop, restart=restart, dry_run=False)


def _check_batches(config: TrainConfig) -> None:
    """Make sure that memory can hold the HR crops of a step, which have 8 bits; they take several times that.

    Raises:
        MemoryNeededError: It cannot.
    """
    sizes = {"phase2_batch": (config.phase2_batch, config.phase2_patch_px)}
    sizes["batch"] = (config.batch, config.patch_px)
    if 2 in config.stage_numbers():
        sizes["gan.batch"] = (config.gan.batch, config.gan.patch_px)
    for name, (batch, patch_px) in sizes.items():
        needed_bytes = 3 * batch * (patch_px * config.scale) ** 2
        memory.check_room(needed_bytes, f"a batch of {batch} crops", f"use a smaller {name}")


def _train(
    config: TrainConfig,
    on_report: Callable[[TrainingReport], None],
    should_stop: Callable[[], bool],
    *,
    restart: bool,
    dry_run: bool,
) -> Outcome:
    """See ``train``."""
    if config.threads:
        torch.set_num_threads(config.threads)
    _check_batches(config)
    with distributed.join_world(config.device, should_stop) as world:
        folder = RunFolder(config, world)
        state = TrainState(config, world, folder.state_path)
        state.start(restart=restart)
        report = on_report if world.is_rank_zero else _ignore
        done = _finished_earlier(config, state)
        if done:
            report(_already_finished(state))
            return done
        # Before the photographs are decoded, which can take long: missing weights must fail at once.
        if 2 in config.stage_numbers():
            require_photos(config.photos, config.lr_dirs, config.valid, config.valid_lr_dirs)
            starting_discriminator(config.gan, config.gan.patch_px * config.scale)
        vgg = perceptual_network(config.gan, world.device) if 2 in config.stage_numbers() else None
        teacher = load_teacher(config.teacher, config.scale, world.device)
        judges = load_judges(config, world.device, vgg)
        photos = load_photos(
            config.photos,
            config.scale,
            config.largest_patch_px(),
            degradation=config.degradation,
            lr_dirs=config.lr_dirs,
            sizes=config.sizes,
            smallest_photo_px=config.smallest_photo_px,
            pairs=config.pairs,
            align_lr=config.align_lr,
            valid=config.valid,
            valid_lr_dirs=config.valid_lr_dirs,
            cache_folder=Path(config.output).parent,
            clip_frames=config.clip_frames,
            frames_per_video=config.frames_per_video,
            cache_gb=config.cache_gb,
            workers=config.workers,
            seed=config.seed,
        )
        # Only now: a misspelt folder of photographs must not delete an earlier run.
        with contextlib.closing(photos), folder.locked(restart=restart):
            state.require_same_photos(photos)
            folder.write_settings()
            crops = Crops(
                photos.training,
                config.scale,
                config.seed,
                config.degradation,
                world.device,
                flat_crop_drop_ratio=config.flat_crop_drop_ratio,
                given_share=config.given_share,
                focus=config.focus,
            )
            session = TrainingSession(
                config,
                world,
                folder=folder,
                state=state,
                photos=photos,
                crops=crops,
                on_report=report,
                should_stop=should_stop,
                vgg=vgg,
                judges=judges,
                teacher=teacher,
            )
            for line in opening_lines(config, state, photos, judges) + folder.write_data_report(photos):
                session.journal.say(line)
            return _train_stages(session, dry_run=dry_run)


def _train_stages(session: TrainingSession, *, dry_run: bool) -> Outcome:
    state, config = session.state, session.config
    generator = session.world.wrap(state.network)
    forward = _forward(session, generator)
    if dry_run or (state.step == 0 and not state.is_resumed and forecast.is_worthwhile(config)):
        _say_forecast(session, generator, forward)
    if dry_run:
        return Outcome(False, (), math.nan, 0)
    written: list[Path] = []
    finished = True
    for number in config.stage_numbers():
        written.append(config.stage_file(number))
        if number < state.stage:  # done before this run was resumed
            continue
        if number > state.stage:
            state.enter_stage(number)
        build_stage = _pixel_stage if number == 1 else _adversarial_stage
        stage = build_stage(session, generator, forward)
        session.begin_stage(stage)
        while session.continues(stage):
            train_step(session, stage)
        finished = state.stage_progress() >= 1
        if not finished:
            break
    shown = state.best if config.keep == "best" and state.best else session.checkpoints.last_scores
    return Outcome(finished, tuple(written), shown.psnr_db, state.step)


def train_step(session: TrainingSession, stage: Stage) -> None:
    """One step of training: draw, forward, loss, backward, step, EMA."""
    state = session.state
    lr, hr = session.draw_crops()
    rate_factor = state.rate_factor()
    # Repeated with smaller micro-batches if memory runs out.
    terms = session.micro_batches.run(
        stage, lr, hr, lambda batch: update_weights(stage, batch, rate_factor, session.world), step=state.step
    )
    state.ema.update(state.network, state.step - state.stage_step)
    state.step += 1
    state.crops += len(lr) * session.world.size
    session.losses.add(terms)


def update_weights(stage: Stage, batch: list[MicroBatch], rate_factor: float, world: World) -> Terms:
    """Forward, loss, backward: of the generator, then of the discriminator on the same images; then step.

    Gradients accumulate over the micro-batches. They are those of the whole batch, except for what
    ``stage.batch_dependent_parts`` names.

    Returns:
        The loss terms, already multiplied by their weights, the scores of the discriminator, and the norm of
        the generator's gradient.
    """
    terms: Terms = {}
    crops = sum(len(lr) for lr, _ in batch)
    stage.begin_step(hr_side_px=batch[0][1].shape[-1])

    pairs = []  # what the discriminator compares
    for number, (lr, hr) in enumerate(batch, 1):
        share = len(lr) / crops
        target = stage.target(lr, hr)
        with world.gradient_sync(stage.generator, last=number == len(batch)):
            sr = stage.forward(lr)
            losses = stage.generator_losses(sr, lr, target)
            loss = torch.stack(list(losses.values())).sum()
            (share * loss).backward()  # type: ignore[no-untyped-call]
        accumulate(terms, losses, share)
        pairs.append((sr.detach(), lr, target))

    if stage.discriminator is not None:
        for number, (sr, lr, target) in enumerate(pairs, 1):
            share = len(sr) / crops
            with world.gradient_sync(stage.discriminator, last=number == len(pairs)):
                discriminator_loss, scores = stage.discriminator_losses(sr, lr, target)
                (share * discriminator_loss).backward()  # type: ignore[no-untyped-call]
            accumulate(terms, scores, share)

    # Only now: if memory ran out above, no weight has changed, and the step can be repeated.
    terms["gradient_norm"] = stage.update_weights(rate_factor)
    return terms


def _forward(session: TrainingSession, generator: torch.nn.Module) -> Forward:
    """The generator, compiled once for both stages."""
    config = session.config
    compiled = config.compiled and not config.checkpointing
    if compiled:
        session.journal.say("compiling ...")
    forward, note = fast_forward(
        generator,
        session.world.device,
        precision=config.precision,
        compiled=compiled,
        shapes=_trial_shapes(session, session.shapes_to_come()),
    )
    if config.compiled and config.checkpointing:
        note = "not compiled, because of --checkpointing"
    if note:
        session.journal.say(note)
    return forward


def _trial_shapes(session: TrainingSession, shapes: list[CropShape]) -> list[TrialShape]:
    """The micro-batches of these crops, each once."""
    frames = session.config.clip_frames
    found = [
        TrialShape(size, shape.patch_px, training=shape.stage == 1, frames=frames)
        for shape in shapes
        for size in sorted(session.micro_batches.sizes(shape.batch), reverse=True)
    ]
    return list(dict.fromkeys(found))


def _say_forecast(session: TrainingSession, generator: torch.nn.Module, forward: Forward) -> None:
    """Report what the run will take, measured in trial steps that change nothing."""
    step_s: dict[CropShape, float] = {}
    shapes = session.shapes_to_come()
    for number in session.config.stage_numbers():
        build_stage = _pixel_stage if number == 1 else _adversarial_stage
        was_training = generator.training
        stage = build_stage(session, generator, forward)
        for shape in shapes:
            if shape.stage == number:
                step_s[shape] = _measured_step_s(session, stage, shape)
        generator.train(was_training)
    config, world = session.config, session.world
    found = forecast.stages(config, step_s, session.state.photographs, world.size)
    size = sum(tensor.numel() * 4 for tensor in session.state.network.state_dict().values())
    for line in forecast.lines(
        config, found, photographs=session.state.photographs, device=world.device, state_bytes=4 * size
    ):
        session.journal.say(line)


def _measured_step_s(session: TrainingSession, stage: Stage, shape: CropShape) -> float:
    """Seconds of a step with these crops; whatever it changes is restored."""
    network = session.state.network
    before = copy.deepcopy((network.state_dict(), stage.state_dict(), session.crops.state()))
    seconds = math.inf
    for _ in range(_TRIAL_STEPS):
        start = time.monotonic()
        drawn = session.crops.draw(shape.batch * session.world.size, shape.patch_px)
        lr, hr = (session.world.shard(crops) for crops in drawn)
        terms = session.micro_batches.run(
            stage, lr, hr, lambda batch: update_weights(stage, batch, 0.0, session.world), step=0
        )
        float(terms["gradient_norm"])  # waits for a GPU
        seconds = min(seconds, time.monotonic() - start)
    network.load_state_dict(before[0])
    stage.load_state_dict(before[1])
    session.crops.restore(before[2])
    return seconds


def _pixel_stage(session: TrainingSession, generator: torch.nn.Module, forward: Forward) -> Stage:
    config, teacher = session.config, None
    if session.teacher is not None:
        shapes = [shape for shape in session.shapes_to_come() if shape.stage == 1]
        teacher = Teacher(
            session.teacher,
            precision=config.precision,
            compiled=config.compiled,
            shapes=_trial_shapes(session, shapes),
            tta=config.teacher_tta,
        )
        if teacher.note:
            session.journal.say(teacher.note)
    network = session.state.network
    return PixelStage(network, generator=generator, forward=forward, config=config, teacher=teacher)


def _adversarial_stage(session: TrainingSession, generator: torch.nn.Module, forward: Forward) -> Stage:
    config = session.config
    return AdversarialStage(
        session.state.network,
        generator=generator,
        forward=forward,
        ema_forward=session.state.ema_forward,
        settings=config.gan,
        hr_side_px=session.crop_shape().patch_px * config.scale,
        world=session.world,
        precision=config.precision,
        seed=config.seed,
        vgg=session.vgg,
    )


def _finished_earlier(config: TrainConfig, state: TrainState) -> Outcome | None:
    """The outcome of a run that is already finished, if its weight files still exist."""
    files = tuple(config.stage_file(number) for number in config.stage_numbers())
    in_last_stage = state.is_resumed and state.stage == config.stage_numbers()[-1]
    if not in_last_stage or state.stage_progress() < 1 or not all(map(Path.is_file, files)):
        return None
    psnr_db = weight_file.load(files[-1]).training.get("psnr_db", math.nan)
    return Outcome(True, files, float(psnr_db), state.step)


def _already_finished(state: TrainState) -> TrainingReport:
    message = f"already finished at step {state.step}: raise its length to continue, or use --restart"
    return TrainingReport(state.step, 1.0, state.elapsed_s, state.stage, message=message)


def _ignore(_report: TrainingReport) -> None:
    """For reports of the other processes."""
