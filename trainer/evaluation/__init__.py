"""Evaluation by the published protocol: PSNR, SSIM, LPIPS, and reports. Start at ``protocol``.

May import ``data``, ``degrade``, ``images``, ``inference``, ``metrics`` and
``models``.
"""
