"""Scores by the published protocols: PSNR, SSIM, LPIPS, and the pages that show them.

May import degrade, data and upscaler's engine and images.
"""
