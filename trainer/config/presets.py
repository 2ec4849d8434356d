"""What ``--preset`` sets; a settings file and options override it.

Loss weights refer to images in [0, 1], losses that are means, and VGG features divided by the mean of their
layer unless ``vgg_factor`` is set.
"""

from typing import Any

# "Photo-Realistic Single Image Super-Resolution Using a GAN" (Ledig et al., arXiv 1609.04802, section 3.2):
# 16 crops of 96 HR pixels; MSE over [-1, 1], which is 4 times that over [0, 1]; Adam with beta1 0.9; a
# million steps at 1e-4, then 100,000 at 1e-4 and 100,000 at 1e-5 with VGG54 after the activation, features
# divided by 12.75, and 1e-3 of -log D.
_PAPER_GAN: dict[str, Any] = {
    "vgg": "torchvision",
    "batch": 16,
    "patch_px": 24,
    "learning_rate": 1e-4,
    "discriminator_learning_rate": 1e-4,
    "betas": [0.9, 0.999],
    "schedule": "tenth",
    "clip_norm": 0.0,
    "discriminator": "srgan",
    "discriminator_channels": 64,
    "pixel_loss": "mse",
    "pixel_weight": 0.0,
    "vgg_layers": {"conv5_4": 1.0},
    "vgg_weight": 1.0,
    "vgg_after_activation": True,
    "vgg_loss": "mse",
    "vgg_factor": 1 / 12.75,
    "adversarial": "vanilla",
    "adversarial_weight": 1e-3,
    "grid_weight": 0.0,
    "power_weight": 0.0,
    "ema_decay": 0.0,
}
_PAPER: dict[str, Any] = {
    "network": "srresnet-paper",
    "start_from": "none",
    "degradation": "clean",
    "steps": 1_200_000,
    "stage_one_share": 5 / 6,
    "batch": 16,
    "patch_px": 24,
    "phase2_share": 0.0,
    "flat_crop_drop_ratio": 0.0,
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "betas": [0.9, 0.999],
    "schedule": "constant",
    "warmup_steps": 0,
    "clip_norm": 0.0,
    "pixel_loss": "mse",
    "pixel_weight": 4.0,
    "loss_colors": "rgb",
    "fft_weight": 0.0,
    "ema_decay": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": _PAPER | {"gan": _PAPER_GAN},
    # After Real-ESRGAN (arXiv 2107.10833): L1, VGG before the activation, a tenth of a U-Net with spectral
    # norm; and power spectra. Layers to conv3_4 make edges and fine texture; they are a fifth of the work.
    "balanced": {},
    # The weights of ESRGAN (arXiv 1809.00219): almost no pixel loss, a relativistic discriminator.
    "sharp": {
        "gan": {
            "pixel_weight": 0.01,
            "vgg_weight": 1.0,
            "adversarial": "relativistic",
            "adversarial_weight": 0.1,
        }
    },
    # SRGAN as in tutorials: pixel MSE first; then MSE of the paper's VGG features with the factor 0.006 =
    # (1/12.75)^2, and 1e-3 of binary cross-entropy; a constant learning rate.
    "tutorial": {
        "network": "srresnet-paper",
        "start_from": "none",
        "degradation": "clean",
        "batch": 16,
        "patch_px": 24,
        "phase2_share": 0.0,
        "flat_crop_drop_ratio": 0.0,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup_steps": 0,
        "pixel_loss": "mse",
        "loss_colors": "rgb",
        "fft_weight": 0.0,
        "gan": _PAPER_GAN | {"schedule": "constant"},
    },
    # MAE first; then MSE of VGG features, an adversarial term with noisy labels, and MAE.
    "mae-noise": {
        "optimizer": "adamw",
        "pixel_loss": "l1",
        "loss_colors": "rgb",
        "fft_weight": 0.0,
        "gan": {
            "discriminator": "srgan",
            "pixel_loss": "l1",
            "pixel_weight": 1.0,
            "vgg_loss": "mse",
            "vgg_weight": 0.1,
            "adversarial_weight": 1e-3,
            "grid_weight": 0.0,
            "power_weight": 0.0,
            "label_noise": 0.1,
        },
    },
    # Noisy labels around 0.1 for SR and 0.9 for HR.
    "soft-label": {
        "pixel_loss": "mse",
        "loss_colors": "rgb",
        "fft_weight": 0.0,
        "gan": {
            "discriminator": "srgan",
            "pixel_loss": "mse",
            "vgg_loss": "mse",
            "vgg_weight": 0.1,
            "adversarial_weight": 1e-3,
            "grid_weight": 0.0,
            "power_weight": 0.0,
            "fake_label": 0.1,
            "real_label": 0.9,
            "label_noise": 0.05,
        },
    },
}
