"""Sizes as people write them, and how each is reached without stretching."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.scenes import NATIVE_SIZES
from zing.errors import BadSize
from zing.sizes import RATIOS, SIDE_MAX, SIDE_MIN, nearest, parse_size, plan

sides = st.integers(SIDE_MIN, SIDE_MAX)
sizes = st.tuples(sides, sides)
native = st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), min_size=1, max_size=9).map(
    lambda pairs: tuple((32 * width, 32 * height) for width, height in pairs)
)


@pytest.mark.parametrize(("ratio", "size"), RATIOS.items())
def test_ratio_names_a_size_of_that_ratio(ratio: str, size: tuple[int, int]) -> None:
    width, height = map(int, ratio.split(":"))
    assert parse_size(ratio) == size
    assert size[0] / size[1] == pytest.approx(width / height, rel=0.01)
    assert all(side % 16 == 0 and 376 <= side <= 1536 for side in size)


@given(sizes, st.sampled_from("xX*"))
def test_written_size_is_read_back(size: tuple[int, int], mark: str) -> None:
    assert parse_size(f"{size[0]}{mark}{size[1]}") == size


BAD = [
    "63x1024",
    "2049x64",
    "64x2049",
    "1e9x1",
    "１０２４x１０２４",
    "-1x5",
    "0x0",
    "x",
    "1024",
    "1024x",
    "1024x1024x3",
    "16:10",
    "16：9",
    "1024×1024",
    "+64x64",
    "64.0x64",
    "0x40x0x40",
    "٦٤x٦٤",
    "99999999999999999999x64",
    "64x64;",
    "²x²",
]


@pytest.mark.parametrize("text", [*BAD, "", " ", "64 x 64", "64x64\n", "\n16:9", "1_000x1_000"])
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(BadSize) as refused:
        parse_size(text)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")


@given(st.text())
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        width, height = parse_size(text)
    except BadSize:
        return
    assert SIDE_MIN <= width <= SIDE_MAX
    assert SIDE_MIN <= height <= SIDE_MAX


def test_limits_can_be_narrower() -> None:
    assert parse_size("376x1536", 376, 1536) == (376, 1536)
    with pytest.raises(BadSize, match="376 to 1536"):
        parse_size("375x1536", 376, 1536)


@given(sizes, st.sampled_from([16, 32, 64]))
def test_direct_rendering_cuts_less_than_one_multiple(size: tuple[int, int], multiple: int) -> None:
    made = plan(size, multiple)
    assert made.scaled == made.render
    for rendered, asked in zip(made.render, size, strict=True):
        assert rendered % multiple == 0
        assert 0 <= rendered - asked < multiple
    assert_centred(made.box, made.scaled, size)


@given(sizes, native)
def test_native_rendering_covers_without_stretching(
    size: tuple[int, int], natives: tuple[tuple[int, int], ...]
) -> None:
    made = plan(size, 32, natives)
    assert made.render in natives
    assert made.scaled[0] >= size[0]
    assert made.scaled[1] >= size[1]
    assert size[0] == made.scaled[0] or size[1] == made.scaled[1]
    # One factor for both sides, up to the rounding of one pixel.
    factor = max(size[0] / made.render[0], size[1] / made.render[1])
    for scaled, rendered in zip(made.scaled, made.render, strict=True):
        assert abs(scaled - rendered * factor) <= 0.5 + 1e-6
    assert_centred(made.box, made.scaled, size)


# What the providers document of a picture's sides.
offered = st.integers(376, 1536)
LOST_MOST = 0.2  # of one side
LOST_MOST_OF_A_RATIO = 0.0625  # 16:9 is cut out of 5:3


def test_native_sizes_can_be_rendered_and_lie_both_ways() -> None:
    assert len(set(NATIVE_SIZES)) == len(NATIVE_SIZES)
    assert all(side % 32 == 0 for size in NATIVE_SIZES for side in size)
    assert {(height, width) for width, height in NATIVE_SIZES} == set(NATIVE_SIZES)


@settings(max_examples=2000)
@given(st.tuples(offered, offered))
@example((1068, 436))
@example((376, 1536))
@example((1536, 376))
@example((1535, 376))
def test_the_native_sizes_lose_at_most_a_fifth_of_one_side(size: tuple[int, int]) -> None:
    made = plan(size, 32, NATIVE_SIZES)
    lost = [1 - kept / whole for kept, whole in zip(size, made.scaled, strict=True)]
    assert min(lost) == 0
    assert max(lost) <= LOST_MOST
    # Never stretched: one factor, up to half a pixel of rounding in the side that is cut.
    factor = max(kept / side for kept, side in zip(size, made.render, strict=True))
    for scaled, rendered in zip(made.scaled, made.render, strict=True):
        assert abs(scaled - rendered * factor) <= 0.5 + 1e-6
    assert_centred(made.box, made.scaled, size)


@given(st.tuples(offered, offered))
def test_a_native_size_lies_as_the_size_that_is_asked_for(size: tuple[int, int]) -> None:
    (width, height), (wide, high) = plan(size, 32, NATIVE_SIZES).render, size
    assert (width - height) * (wide - high) >= 0


def test_nothing_loses_as_much_as_a_fifth() -> None:
    """Aspect ratios are all that counts: the worst lie in the middle between two native ones."""
    ratios = sorted(width / height for width, height in NATIVE_SIZES)
    between = [1 - (low / high) ** 0.5 for low, high in pairwise(ratios)]
    beyond = 1 - ratios[-1] / (1536 / 376)
    assert max(*between, beyond) == pytest.approx(0.1835, abs=1e-4)
    assert max(*between, beyond) < LOST_MOST


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ratio_gets_a_native_size_that_lies_like_it_and_loses_little(ratio: str) -> None:
    size = RATIOS[ratio]
    made = plan(size, 32, NATIVE_SIZES)
    lost = [1 - kept / whole for kept, whole in zip(size, made.scaled, strict=True)]
    assert min(lost) == 0
    cut = LOST_MOST_OF_A_RATIO if ratio in {"16:9", "9:16"} else 0.0
    assert max(lost) == pytest.approx(cut, abs=1e-9)


def assert_centred(
    box: tuple[int, int, int, int], outer: tuple[int, int], inner: tuple[int, int]
) -> None:
    left, top, right, bottom = box
    assert (right - left, bottom - top) == inner
    assert 0 <= left <= outer[0] - right <= left + 1
    assert 0 <= top <= outer[1] - bottom <= top + 1


def test_nearest_is_by_ratio_then_by_area() -> None:
    natives = ((160, 160), (512, 512), (224, 128), (128, 224))
    assert nearest((1280, 720), natives) == (224, 128)
    assert nearest((720, 1280), natives) == (128, 224)
    assert nearest((200, 200), natives) == (160, 160)
    assert nearest((1024, 1024), natives) == (512, 512)
