"""What the network is pulled towards. Every loss takes RGB ``(B, 3, H, W)`` fp32 in [0, 1]."""

from collections.abc import Callable

import torch
from torch import Tensor


def squared_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference (MSE), of which PSNR is the logarithm; for the last stretch of a training."""
    return (made - wanted).square().mean()


def absolute_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference (L1); EDSR (arXiv 1707.02921) found it to converge better than MSE."""
    return (made - wanted).abs().mean()


def spectrum_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the spectra, real and imaginary parts (as in SAFMN, arXiv 2302.13800).

    The transform is orthonormal, so that the weight does not depend on the size of the crops: SAFMN's
    0.05 on unnormalised spectra of 192-pixel crops is a weight of about 10 here.
    """
    spectrum = torch.fft.rfft2(made.float() - wanted.float(), norm="ortho")
    return torch.view_as_real(spectrum).abs().mean()


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": absolute_loss, "mse": squared_loss}
