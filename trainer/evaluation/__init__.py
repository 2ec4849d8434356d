"""Evaluation by the published protocol: PSNR, SSIM, LPIPS, and reports.

May import degrade, data and upscaler's engine and images.
"""
