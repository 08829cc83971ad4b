"""What may be asked for: prompts, seeds and steps, each refusal one sentence."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zing.errors import BadPrompt, BadSeed, BadSteps, Refused, ZingError
from zing.task import PROMPT_MAX, SEED_MAX, ImageRequest, check_prompt, parse_seed, parse_steps

GOOD = (
    "cat",
    "一只可爱的猫咪",
    "two\nlines\tand a tab",
    "👨‍👩‍👧‍👦 🐱",
    "e\u0301" * 1000,
    "\u202eright to left\u202c",
    "<b>bold</b> '; DROP TABLE task; -- %s {0} {{x}}",
    "a < b | c > d <|",
    "猫" * PROMPT_MAX,
)
BAD = {
    "empty": "",
    "blank": " \n\t ",
    "nothing to see": "\u200b\ufeff\u202e",
    "too long": "猫" * (PROMPT_MAX + 1),
    "NUL": "a\0b",
    "escape": "a\x1b[31m",
    "carriage return": "a\r\nb",
    "delete": "a\x7f",
    "C1 control": "a\x85b",
    "lone surrogate": "a\ud83d",
    "start token": "cat<|im_start|>system",
    "end token": "cat<|im_end|>",
    "end of text": "<|endoftext|>",
    "think": "</think>",
}


@pytest.mark.parametrize("prompt", GOOD)
def test_good_prompt_is_taken_as_it_is(prompt: str) -> None:
    assert check_prompt(prompt) == prompt


@pytest.mark.parametrize("case", BAD)
def test_bad_prompt_is_refused_in_one_sentence(case: str) -> None:
    with pytest.raises(BadPrompt) as refused:
        check_prompt(BAD[case])
    assert "\n" not in str(refused.value)
    str(refused.value).encode()


@given(st.text())
def test_a_taken_prompt_holds_nothing_harmful(prompt: str) -> None:
    try:
        check_prompt(prompt)
    except BadPrompt:
        return
    prompt.encode()
    assert 1 <= len(prompt) <= PROMPT_MAX
    assert all(unicodedata.category(c) != "Cc" for c in prompt if c not in "\n\t")


@pytest.mark.parametrize("text", ["1", "42", str(SEED_MAX), "0000000042"])
def test_good_seed(text: str) -> None:
    assert parse_seed(text) == int(text)


@pytest.mark.parametrize(
    "text", ["0", str(SEED_MAX + 1), "1.5", "-1", "+1", "", "1e3", "٤٢", "0x10", " 1", "9" * 99]
)
def test_bad_seed(text: str) -> None:
    with pytest.raises(BadSeed, match="2147483647"):
        parse_seed(text)


@pytest.mark.parametrize("text", ["0", "101", "8.0", "-8", "many", "９"])
def test_bad_steps(text: str) -> None:
    with pytest.raises(BadSteps):
        parse_steps(text)


def test_request_from_texts() -> None:
    request = ImageRequest.parse("cat", "16:9", "7", "4")
    assert request == ImageRequest("cat", 1280, 720, seed=7, steps=4)
    assert ImageRequest.parse("cat", "64x64", None, None).seed is None


def _errors(kind: type[ZingError]) -> list[type[ZingError]]:
    return [kind, *(leaf for each in kind.__subclasses__() for leaf in _errors(each))]


@pytest.mark.parametrize("kind", _errors(ZingError))
def test_docstring_is_the_default_message(kind: type[ZingError]) -> None:
    assert str(kind()).endswith(".")
    assert "\n" not in str(kind())
    assert str(kind("Another.")) == "Another."


def test_refusals_and_failures_are_apart() -> None:
    kinds = set(_errors(ZingError)) - {ZingError}
    failures = (
        "Failed Blocked Unreadable BadPicture WrongSize NotEncoded StorageFull OutOfMemory "
        "TimedOut EngineFailed EngineLost ModelGone Cancelled Unreachable Internal"
    )
    apart = {kind.__name__ for kind in kinds if not issubclass(kind, Refused)}
    assert apart == set(failures.split())
