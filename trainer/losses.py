"""What the network is pulled towards. Every loss takes RGB ``(B, 3, H, W)`` fp32 in [0, 1]."""

import torch
from torch import Tensor


def pixel_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference (L1); EDSR (arXiv 1707.02921) found it to converge better than MSE."""
    return (made - wanted).abs().mean()


def spectrum_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the spectra, real and imaginary parts (as in SAFMN, arXiv 2302.13800).

    The transform is orthonormal, so that the weight does not depend on the size of the crops: SAFMN's
    0.05 on unnormalised spectra of 192-pixel crops is a weight of about 10 here.
    """
    spectrum = torch.fft.rfft2(made.float() - wanted.float(), norm="ortho")
    return torch.view_as_real(spectrum).abs().mean()
