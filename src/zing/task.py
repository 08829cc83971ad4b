"""The nouns: what a person asks for and what comes back. No database, no HTTP, no tensors."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from zing.errors import BadPrompt, BadSeed, BadSetting, BadSteps
from zing.sizes import parse_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROMPT_MAX = 2000
SEED_MAX = 2**31 - 1
MICRO = 1_000_000  # money is integers of millionths of a credit
STEPS_DEFAULT, STEPS_MAX = 8, 100

# The control tokens of the Qwen chat template: <|im_start|>, <think>, <tool_call> and their kin.
_CONTROL_TOKEN = re.compile(r"<\|[a-z_]+\|>|</?(?:think|tool_call|tool_response)>")
_CREDITS = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
# Categories of characters that show nothing: spaces, line ends, controls, format characters.
_UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}


class TaskState(StrEnum):
    """Where a task is in its life: queued, running and back where a worker died, then one end."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to a task in this state."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


class DeliveryState(StrEnum):
    """Where a callback is: due until it was taken, or given up, or not to be sent at all."""

    DUE = "due"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    REFUSED = "refused"


@dataclass(frozen=True)
class ImageRequest:
    """What a person asked for, checked.

    seed          None where any will do
    strict        ask for the strict safety level
    callback_url  where to tell that the task has ended; checked when it is submitted
    extend        ask for the prompt to be extended by a language model
    extended      the prompt that the language model made of it; None where it made none
    """

    prompt: str
    width: int
    height: int
    seed: int | None = None
    steps: int = STEPS_DEFAULT
    strict: bool = False
    callback_url: str | None = None
    extend: bool = False
    extended: str | None = None

    @property
    def drawn(self) -> str:
        """The prompt that is drawn."""
        return self.extended or self.prompt

    @classmethod
    def parse(cls, prompt: str, size: str, seed: str | None, steps: str | None) -> ImageRequest:
        """The request that these texts make; raises a `Refused` that names what is wrong."""
        width, height = parse_size(size)
        return cls(
            prompt=check_prompt(prompt),
            width=width,
            height=height,
            seed=None if seed is None else parse_seed(seed),
            steps=STEPS_DEFAULT if steps is None else parse_steps(steps),
        )


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` is done.

    preview  (h, w, 3) uint8, RGB: about what the picture will be, small; None where none
             was asked for or the last one is fresh
    """

    step: int
    steps: int
    preview: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Picture:
    """A finished picture and how it came to be.

    pixels               (H, W, 3) uint8, RGB
    rendered             the (width, height) the model drew before scaling and cutting
    prompt_tokens        tokens of the prompt with its template
    prompt_tokens_used   of these, the tokens that the model saw
    understood           the words of the prompt that are in the model's vocabulary, as written;
                         None where it has no list of words
    """

    pixels: NDArray[np.uint8]
    rendered: tuple[int, int]
    prompt_tokens: int
    prompt_tokens_used: int
    understood: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """One asked-for picture and what has become of it.

    id          ours, in the order of time; `public_id` is in the shape of the dialect it came by
    fields      what the caller sent, as it came
    seed        the seed that is drawn with, also where none was asked for
    cost        integer micro-credits
    attempt     how often a worker has claimed it
    error       the name of an error class in errors.py where it failed or was cancelled
    *_at        UTC seconds
    """

    id: str
    public_id: str
    account_id: str
    dialect: str
    state: TaskState
    request: ImageRequest
    fields: dict[str, Any]
    seed: int
    cost: int
    created_at: float
    updated_at: float
    attempt: int = 0
    cancel_requested: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    error_message: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def can_cancel(self) -> bool:
        """Whether asking to cancel would change anything."""
        return not self.state.ended and not self.cancel_requested


@dataclass(frozen=True)
class Ended:
    """How a task ended, as much as a log may tell: no prompt, no key, no address.

    size      WxH
    credits   micro-credits that were charged
    queued_s  seconds from its accept until a worker took it for the last time
    drawn_s   seconds from then on; None where no worker had it
    """

    public_id: str
    dialect: str
    state: TaskState
    error: str
    size: str
    steps: int
    attempt: int
    credits: int
    queued_s: float
    drawn_s: float | None

    @classmethod
    def of(cls, task: Any, kind: str, state: TaskState, error: str, now: float) -> Ended:
        """The end that a task, or its row, comes to now; `kind` ends in its size and steps."""
        taken_at = now if task.started_at is None else task.started_at
        drawn = re.search(r"(\d+x\d+) (\d+)$", kind)
        return cls(
            public_id=task.public_id,
            dialect=task.dialect,
            state=TaskState(state),
            error=error,
            size=drawn[1] if drawn else "",
            steps=int(drawn[2]) if drawn else 0,
            attempt=task.attempt,
            credits=task.cost if state == TaskState.SUCCEEDED else 0,
            queued_s=max(0.0, taken_at - task.created_at),
            drawn_s=None if task.started_at is None else max(0.0, now - taken_at),
        )


@dataclass(frozen=True)
class TaskView:
    """A task as it is shown at one moment.

    progress      0 to 100; 1 to 99 while it runs
    estimated_s   whole seconds until it ends, by what was measured; 0 when it has ended
    links         where its pictures are; none before it succeeded
    price         micro-credits of one picture today, which a dialect's own credits are counted by
    """

    task: Task
    progress: int
    estimated_s: int
    links: tuple[str, ...]
    price: int


def percent(step: int, steps: int) -> int:
    """How far a running task is, from 1 to 99; 1 where its worker has not said."""
    return min(99, max(1, round(100 * step / steps))) if steps else 1


@dataclass(frozen=True)
class Moment:
    """One thing that happened to a task, as an event stream tells it.

    number   grows from moment to moment of a task
    step     so many of `steps` are done, where it runs
    place    tasks that are drawn before it, where it is queued; an estimate
    preview  a data URL of the picture so far, empty where there is none
    view     the task, in the moment of its end alone
    """

    number: int
    state: TaskState
    step: int = 0
    steps: int = 0
    place: int = 0
    preview: str = ""
    view: TaskView | None = None

    @property
    def progress(self) -> int:
        """0 to 100; 1 to 99 while it runs."""
        return percent(self.step, self.steps) if self.state is TaskState.RUNNING else 0


@dataclass(frozen=True)
class Listing:
    """Which tasks of an account to show: those in `states`, by pages, the newest first.

    page  counts from 1
    """

    states: tuple[TaskState, ...]
    page: int
    page_size: int


@dataclass(frozen=True)
class TaskPage:
    """One page of a listing, and how many tasks all its pages have."""

    views: tuple[TaskView, ...]
    total: int
    listing: Listing


@dataclass(frozen=True)
class Credits:
    """What an account may spend, in micro-credits: holds are taken off, settles are used.

    used_by_key  what tasks of the key that asks settled
    price        of one picture today
    """

    available: int
    used: int
    used_by_key: int
    price: int


@dataclass(frozen=True)
class Delivery:
    """A callback that is owed for a task that has ended.

    id        the same at every attempt; receivers know a repetition by it
    host      of the URL, in small letters
    attempt   how often it was tried
    next_at   when it is tried next, while it is due
    body      what attempt 1 sent and every other sends; None before
    *_at      UTC seconds
    """

    id: str
    task_id: str
    account_id: str
    public_id: str
    dialect: str
    url: str
    host: str
    state: DeliveryState
    attempt: int
    next_at: float
    body: str | None
    created_at: float
    ended_at: float | None


@dataclass(frozen=True)
class Attempt:
    """One try of a delivery; `status` is None where no HTTP answer came, `error` says why."""

    number: int
    started_at: float
    took_s: float
    status: int | None
    error: str


def check_prompt(prompt: str) -> str:
    """The prompt as it came; raises BadPrompt where it could not be drawn or would do harm."""
    if len(prompt) > PROMPT_MAX:
        raise BadPrompt(f"The prompt has {len(prompt)} characters; at most {PROMPT_MAX} are taken.")
    for character in prompt:
        _check_character(character)
    if all(unicodedata.category(character) in _UNSEEN for character in prompt):
        raise BadPrompt("The prompt is empty: say what to draw.")
    found = _CONTROL_TOKEN.search(prompt)
    if found:
        raise BadPrompt(f"The prompt holds the control token {found[0]}; write it another way.")
    return prompt


def _check_character(character: str) -> None:
    category = unicodedata.category(character)
    if category == "Cs":
        raise BadPrompt("The prompt holds half a character (a lone surrogate); send whole UTF-8.")
    if category == "Cc" and character not in "\n\t":
        raise BadPrompt(
            f"The prompt holds the control character U+{ord(character):04X}; "
            "only newline and tab are taken."
        )


def parse_seed(text: str) -> int:
    """The seed that a text names, 1 to 2147483647."""
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not 1 <= int(text) <= SEED_MAX:
        raise BadSeed(f"{text!r} is not a seed: a whole number from 1 to {SEED_MAX} is one.")
    return int(text)


def parse_steps(text: str) -> int:
    """The number of steps that a text names, 1 to 100."""
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= STEPS_MAX:
        raise BadSteps(
            f"{text!r} steps cannot be run: choose 1 to {STEPS_MAX}; 8 is what it needs."
        )
    return int(text)


def parse_credits(text: str) -> int:
    """The micro-credits that a text such as 12 or 0.026 names."""
    if not _CREDITS.fullmatch(text):
        raise BadSetting(f"{text!r} is not a number of credits: write it like 12 or 0.026.")
    return int(Decimal(text) * MICRO)


def show_credits(micro: int) -> str:
    """Micro-credits in credits, without zeros that say nothing."""
    return f"{Decimal(micro) / MICRO:f}"


def credits_number(micro: int) -> int | float:
    """Micro-credits as a JSON number of credits, whole where it is whole."""
    return micro // MICRO if micro % MICRO == 0 else micro / MICRO
