"""Muon for convolution matrices, AdamW for the rest, behind one object; the learning-rate schedule."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Keller Jordan et al., 2024).

    A convolution's weight ``(out, in, k, k)`` is treated as the matrix ``(out, in*k*k)``;
    ``torch.optim.Muon`` takes plain matrices only.

    Args:
        parameters: Convolution weights.
        lr: Step size; the spectral norm of a step is about this.
        weight_decay: Decoupled, times the step size.
        momentum: Of the gradient, with Nesterov's look-ahead.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; matrices of one shape are orthogonalised together."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            averages = [self.state[parameter]["momentum"] for parameter in parameters]
            torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
            directions = torch._foreach_lerp(gradients, averages, group["momentum"])
            by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
            for number, direction in enumerate(directions):
                by_shape[direction.shape[0], direction[0].numel()].append(number)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for (rows, columns), numbers in by_shape.items():
                size = group["lr"] * math.sqrt(max(1.0, rows / columns))
                steps = orthogonalise(torch.stack([directions[number].flatten(1) for number in numbers]))
                moved = [parameters[number] for number in numbers]
                shaped = [step.view_as(parameter) for parameter, step in zip(moved, steps, strict=True)]
                torch._foreach_add_(moved, shaped, alpha=-size)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Push all singular values towards 1 by five Newton-Schulz steps.

    The quintic's coefficients (Jordan) trade exactness for speed: singular values end in about [0.7, 1.2].

    Args:
        matrices: ``(N, rows, columns)`` fp32.

    Returns:
        Same shape.
    """
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x: Tensor = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


class Optimizer:
    """The optimizer of one network.

    Args:
        network: The network to train.
        kind: ``muon`` or ``adamw``.
        matrix_rate: Peak learning rate of the convolution matrices.
        matrix_decay: Decoupled weight decay of the matrices.
        betas: Of AdamW.
        clip_norm: Gradients are clipped to this norm; 0 turns clipping off.
        factor_of: By the name of a parameter, a factor on its learning rate.
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        matrix_rate: float,
        matrix_decay: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        clip_norm: float = 1.0,
        factor_of: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        by_factor: dict[float, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in network.named_parameters():
            by_factor[factor_of(name)].append(parameter)
        self._parts: list[torch.optim.Optimizer] = []
        self._parameters: list[nn.Parameter] = []
        for factor, parameters in by_factor.items():
            matrices = [parameter for parameter in parameters if parameter.ndim == 4]
            rest = [parameter for parameter in parameters if parameter.ndim != 4]
            self._parameters += matrices + rest
            if kind == "muon":
                self._parts += [
                    Muon(matrices, lr=factor * matrix_rate, weight_decay=matrix_decay),
                    torch.optim.AdamW(rest, lr=factor * 1e-3, betas=betas, weight_decay=0.0),
                ]
            else:
                groups = [
                    {"params": matrices, "weight_decay": matrix_decay},
                    {"params": rest, "weight_decay": 0.0},
                ]
                self._parts += [torch.optim.AdamW(groups, lr=factor * matrix_rate, betas=betas)]
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self._parts]
        self._clip_norm = clip_norm or math.inf

    def step(self, rate_factor: float) -> Tensor:
        """Clip the gradient, step with ``rate_factor`` times the peak rates, clear gradients.

        Returns:
            The norm before clipping.
        """
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * rate_factor
            part.step()
        self.zero_grad()
        return norm

    def zero_grad(self) -> None:
        """Clear gradients without a step."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """States of the parts."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take up the states of ``state_dict``."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def rate_factor(step: int, progress: float, *, warmup_steps: int, schedule: str = "cosine") -> float:
    """Share of the peak learning rate: a linear warm-up times a function of the progress of the stage.

    A pure function, so that there is no scheduler state to save.

    Args:
        step: Steps since the stage began.
        progress: Fraction of the stage that is done, 0 to 1.
        warmup_steps: Steps of linear warm-up.
        schedule: ``cosine``, ``constant`` or ``tenth``.
    """
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    if schedule == "constant":
        return warmup
    if schedule == "tenth":
        return warmup * (1.0 if progress < 0.5 else 0.1)
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
