"""The schedule against diffusers', and against the numbers that the model was distilled for."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from zing.engine.zimage.scheduler import euler_step, sigmas


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.5])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 9, 50])
def test_sigmas_equal_reference(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    even = torch.linspace(1.0, 1 / steps, steps).tolist()
    scheduler.set_timesteps(sigmas=even)
    assert torch.equal(sigmas(steps, shift), scheduler.sigmas)


def test_eight_steps_are_the_eight_that_the_model_knows() -> None:
    expected = [1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3, 0]
    assert sigmas(8, 3.0).tolist() == pytest.approx(expected, abs=5e-5)


def test_step_equals_reference() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1.0, 1 / 8, 8).tolist())
    latents, velocity = torch.randn(2, 1, 4, 6, 6, generator=torch.manual_seed(3)).unbind()
    falling, expected, ours = sigmas(8, 3.0), latents, latents
    for index, timestep in enumerate(scheduler.timesteps):
        expected = scheduler.step(-velocity, timestep, expected, return_dict=False)[0]
        ours = euler_step(ours, velocity, falling[index], falling[index + 1])
        assert torch.equal(ours, expected)
