"""What the training loop reports to whoever started it."""

from dataclasses import dataclass, field

from upscaler.trainer.run.scores import Scores
from upscaler.trainer.stages.divergence import Means

# The loss terms of both stages, in the order of tables and curves; reports give them times their weights.
LOSS_TERMS = (
    "pixel",
    "fft",
    "calm",
    "vgg",
    "adversarial",
    "features",
    "tv",
    "grid",
    "power",
    "ldl",
    "discriminator",
)


@dataclass(frozen=True)
class TrainingReport:
    """One report, about twice a second and at every event.

    Attributes:
        step: Steps done, both stages together.
        progress: Fraction of the run that is done, 0 to 1.
        elapsed_s: Training time so far, earlier parts of a resumed run included.
        stage: 1 or 2.
        epoch: Crops drawn so far over photographs to train on.
        means: Means of the loss terms and other scalars since the last report.
        scores: Scores of a validation that was just done.
        message: A line for the user.
    """

    step: int
    progress: float
    elapsed_s: float
    stage: int = 1
    epoch: float = 0.0
    means: Means = field(default_factory=dict)
    scores: Scores | None = None
    message: str | None = None
