"""The flow-match Euler schedule: sigmas pinned by steps and shift, and one step of it.

Source: diffusers 0.42.1 schedulers/scheduling_flow_match_euler_discrete.py (set_timesteps, step)
with the sigmas that pipelines/z_image passes, linspace(1, 1 / steps, steps). One forward a step.
"""

import torch
from torch import Tensor


def sigmas(steps: int, shift: float) -> Tensor:
    """(steps + 1,) float32 falling from 1 to 0.

    Eight steps at shift 3: 1, .9545, .9, .8333, .75, .6429, .5, .3, 0.
    """
    even = torch.linspace(1.0, 1 / steps, steps)
    shifted = shift * even / (1 + (shift - 1) * even)
    return torch.cat((shifted, torch.zeros(1)))


def euler_step(latents: Tensor, velocity: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """The latents at `next_sigma`; the model's velocity points from noise to picture."""
    return latents + (next_sigma - sigma) * -velocity.float()
