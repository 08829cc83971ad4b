"""The training's own ways of computing give the numbers of diffusers and torch."""

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers.models.normalization import RMSNorm  # noqa: E402

from training import dense, norms, transformer  # noqa: E402
from training.scenes import NATIVE_SIZES  # noqa: E402


@pytest.fixture(scope="module")
def model() -> Any:
    """A small transformer whose every part does something."""
    torch.manual_seed(0)
    model = transformer.build(32, dim=48, layers=2)
    transformer.initialise(model)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.mark.parametrize("padded", [32, 64])
@pytest.mark.parametrize("size", [NATIVE_SIZES[0], NATIVE_SIZES[3], NATIVE_SIZES[-1]], ids=str)
def test_a_dense_batch_is_what_diffusers_computes(
    model: Any, size: tuple[int, int], padded: int
) -> None:
    width, height = size
    noisy = torch.randn(3, 16, height // 16, width // 16)
    times, lengths = torch.tensor([0.0, 0.4, 0.9]), torch.tensor([padded - 21, padded - 5, padded])
    texts = torch.randn(3, padded, 32)
    with torch.no_grad():
        wanted = model(
            list(noisy.unsqueeze(2)),
            times,
            [text[:length] for text, length in zip(texts, lengths, strict=True)],
            return_dict=False,
        )[0]
        made = dense.forward(model, noisy, times, texts, lengths)
    assert made.shape == noisy.shape
    torch.testing.assert_close(made, torch.stack(list(wanted)).squeeze(2), rtol=1e-4, atol=1e-4)


def test_what_stands_behind_a_text_does_not_matter(model: Any) -> None:
    noisy, times, lengths = torch.randn(1, 16, 16, 16), torch.tensor([0.5]), torch.tensor([9])
    texts = torch.randn(1, 32, 32)
    with torch.no_grad():
        one = dense.forward(model, noisy, times, texts, lengths)
        texts[:, 9:] = 7
        assert torch.equal(dense.forward(model, noisy, times, texts, lengths), one)


@pytest.mark.parametrize("shape", [(3, 7, 16), (3, 7, 2, 8)], ids=str)
def test_quick_rms_norms_compute_what_diffusers_computes(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(shape[-1], eps=1e-5)
    norm.weight.data.normal_()
    x = torch.randn(shape, requires_grad=True)
    _same(x, norm.weight, norm, lambda x: norms.Rms.apply(x, norm.weight, 1e-5))


@pytest.mark.parametrize("channels", [4, 8, 16])
@pytest.mark.parametrize("side", [8, 12, 32])
def test_quick_group_norms_compute_what_torch_computes(channels: int, side: int) -> None:
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(4, channels)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = torch.randn(2, channels, side, side).contiguous(memory_format=torch.channels_last)

    def quick(x: Any) -> Any:
        return norms.Group.apply(x, norm.weight, norm.bias, 4, norm.eps)

    _same(x.requires_grad_(), norm.weight, norm, quick)
    _same(x, norm.bias, norm, quick)


def _same(x: Any, weight: Any, *ways: Callable[[Any], Any]) -> None:
    """Check that all ways give the same values and gradients."""
    slope = torch.randn(x.shape)
    results = []
    for compute in ways:
        y = compute(x)
        results.append((y, *torch.autograd.grad((y.square() * slope).sum(), (x, weight))))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)


def test_quickened_models_are_the_same_models(model: Any) -> None:
    noisy, times = torch.randn(2, 16, 16, 16), torch.tensor([0.2, 0.7])
    texts, lengths = torch.randn(2, 32, 32), torch.tensor([20, 32])
    quick = transformer.build(32, dim=48, layers=2)
    quick.load_state_dict(model.state_dict())
    norms.quicken(quick)
    with torch.no_grad():
        one, other = (dense.forward(m, noisy, times, texts, lengths) for m in (model, quick))
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
