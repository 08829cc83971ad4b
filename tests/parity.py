"""What the parity suites share: loading one network of ours, and the error between tensors."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zing.engine.zimage import weights
from zing.engine.zimage.pipeline import build


def load(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Any:
    """Our network of a checkpoint's part, filled."""
    networks = build(folder)
    wanted = getattr(networks, name)
    for network, part in networks.with_parts(folder):
        if network is wanted:
            weights.load(network, part, torch.device("cpu"), dtype)
    return wanted.eval()


def difference(ours: Tensor, reference: Tensor) -> float:
    """The relative error: the norm of the difference over the norm of the reference."""
    assert ours.shape == reference.shape
    assert reference.norm() > 0
    return float((ours.double() - reference.double()).norm() / reference.double().norm())
