"""The four wire formats: every request, reply and refusal against their golden files.

The tables below are dialects.md 4.1 and 4.2, typed from there.
"""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import goldens
from zing import errors
from zing.dialects import ALL, below, evolink, kie, tensorslab, zimageturbo
from zing.dialects.base import Dialect
from zing.task import SEED_MAX, TaskState, check_prompt

each_dialect = pytest.mark.parametrize("dialect", ALL, ids=lambda each: each.NAME)

INPUT = "400 invalid_request", "422 in 200", "9999 in 200", "400"
OURS = "500 internal_error", "500 in 200", "9999 in 200", "500"

# Core errors: HTTP and code of EvoLink, code in HTTP of kie and of TensorsLab, HTTP of zimageturbo.
TABLE: dict[str, tuple[str, str, str, str]] = {
    "BadKey": ("401 unauthorized", "401 in 200", "9999 in 200", "401"),
    "KeyEnded": ("401 unauthorized", "401 in 200", "9999 in 200", "401"),
    "KeyDisabled": ("403 key_disabled", "401 in 200", "9999 in 200", "401"),
    "KeyDenied": ("403 permission_denied", "401 in 200", "9999 in 200", "403"),
    "ModelDenied": ("403 model_access_denied", "505 in 200", "9999 in 200", "403"),
    "InsufficientCredits": ("402 insufficient_quota", "402 in 200", "9000 in 200", "402"),
    "KeyCapReached": ("402 key_quota_exhausted", "433 in 200", "9000 in 200", "402"),
    "KeyDailyCapReached": ("402 key_daily_quota_exhausted", "433 in 200", "9000 in 200", "402"),
    "RateLimited": ("429 rate_limit_exceeded", "429 in 429", "9999 in 429", "429"),
    "QueueFull": ("503 resource_exhausted", "429 in 429", "9999 in 503", "429"),
    "Unavailable": ("503 service_unavailable", "455 in 200", "9999 in 200", "503"),
    "SwitchedOff": ("503 service_unavailable", "505 in 200", "9999 in 200", "503"),
    "UnknownTask": ("404 task_not_found", "422 in 200", "9999 in 200", "404"),
    "NotCancellable": ("409 task_not_cancellable", "422 in 200", "1000 in 200", "400"),
    "IdempotencyInFlight": ("409 paid_outcome_unknown", "422 in 200", "9999 in 200", "409"),
    "IdempotencyConflict": ("409 idempotency_conflict", "422 in 200", "9999 in 200", "409"),
    "BodyTooLarge": ("413 request_too_large", "422 in 200", "9999 in 413", "413"),
    "BadContentType": ("415 unsupported_media_type", "422 in 200", "9999 in 200", "415"),
    "UnknownRoute": ("404 not_found", "404 in 404", "9999 in 404", "404"),
    "WrongMethod": ("405 method_not_allowed", "405 in 405", "9999 in 405", "405"),
    **dict.fromkeys("BadBody BadPrompt BadSize BadSeed BadSteps BadField".split(), INPUT),
    **dict.fromkeys("BadCallback UnknownModel BadFile BadSetting BadCheckpoint".split(), INPUT),
    **dict.fromkeys(("UnknownAccount", "UnknownKey", "LastKey", "Forbidden"), INPUT),
    **{kind.__name__: OURS for kind in errors.leaves(errors.Failed)},
}

# Views of tests/goldens.py: the words of EvoLink, kie, TensorsLab and zimageturbo, and the error
# codes of EvoLink and kie.
WORDS: dict[str, tuple[str, str, int, str, str, str]] = {
    "queued": ("pending", "waiting", 1, "IN_PROGRESS", "", ""),
    "queued again": ("pending", "queuing", 1, "IN_PROGRESS", "", ""),
    "running": ("processing", "generating", 2, "IN_PROGRESS", "", ""),
    "succeeded": ("completed", "success", 3, "SUCCESS", "", ""),
    "cancelled": ("cancelled", "fail", 4, "FAILED", "request_cancelled", "499"),
    "failed Blocked": ("failed", "fail", 4, "FAILED", "content_policy_violation", "422"),
    "failed BadPicture": ("failed", "fail", 4, "FAILED", "generation_failed_no_content", "501"),
    "failed OutOfMemory": ("failed", "fail", 4, "FAILED", "resource_exhausted", "500"),
    "failed TimedOut": ("failed", "fail", 4, "FAILED", "generation_timeout", "408"),
    "failed EngineFailed": ("failed", "fail", 4, "FAILED", "service_error", "500"),
    "failed Unreadable": ("failed", "fail", 4, "FAILED", "invalid_parameters", "422"),
    "failed WrongSize": ("failed", "fail", 4, "FAILED", "image_dimension_mismatch", "500"),
    "failed NotEncoded": ("failed", "fail", 4, "FAILED", "image_processing_error", "500"),
    "failed StorageFull": ("failed", "fail", 4, "FAILED", "quota_exceeded", "500"),
    "failed EngineLost": ("failed", "fail", 4, "FAILED", "service_unavailable", "500"),
    "failed ModelGone": ("failed", "fail", 4, "FAILED", "resource_not_found", "500"),
    "failed Unreachable": ("failed", "fail", 4, "FAILED", "unknown_error", "500"),
    "failed Internal": ("failed", "fail", 4, "FAILED", "unknown_error", "500"),
}


def asking(dialect: Dialect, which: str, value: Any) -> dict[str, Any]:
    """The least request of a dialect with its prompt, size or seed set."""
    return goldens.asking(dialect.NAME, which, value)


def ask_prompt(dialect: Dialect, prompt: str) -> str:
    return dialect.parse(asking(dialect, "prompt", prompt)).prompt


def refusal(dialect: Dialect, fields: dict[str, Any]) -> errors.BadInput:
    with pytest.raises(errors.BadInput) as refused:
        dialect.parse(fields)
    return refused.value


# The golden files


@each_dialect
def test_a_dialect_does_what_its_golden_file_says(dialect: Dialect) -> None:
    goldens.check(dialect, goldens.load(dialect.NAME))


@each_dialect
def test_the_golden_file_has_every_error_and_every_end(dialect: Dialect) -> None:
    golden = goldens.load(dialect.NAME)
    assert {case["error"] for case in golden["refused"]} == {
        leaf.__name__ for leaf in errors.leaves()
    }
    assert {case["of"] for case in golden["replies"] if case["call"] == "shown"} == WORDS.keys()
    assert {str(goldens.VIEWS[of].get("state", "queued")) for of in WORDS} == set(TaskState)
    assert {f"failed {leaf.__name__}" for leaf in errors.leaves(errors.Failed)} <= {
        *WORDS,
        "failed Cancelled",
    }


# dialects.md 4.1 and 4.2


def test_the_table_of_errors_has_every_error() -> None:
    assert TABLE.keys() == {leaf.__name__ for leaf in errors.leaves()}


@pytest.mark.parametrize("name", TABLE)
def test_every_error_has_its_code_in_every_dialect(name: str) -> None:
    error = getattr(errors, name)()
    evo, of_kie, tensors, turbo = (dialect.refused(error) for dialect in ALL)
    assert TABLE[name] == (
        f"{evo.status} {evo.body['error']['code']}",
        f"{of_kie.body['code']} in {of_kie.status}",
        f"{tensors.body['code']} in {tensors.status}",
        f"{turbo.status}",
    )
    assert turbo.body["code"] == turbo.status


@pytest.mark.parametrize("of", WORDS)
def test_every_state_has_its_word_in_every_dialect(of: str) -> None:
    evo, of_kie, tensors, turbo = (
        dialect.shown(goldens.view(goldens.load(dialect.NAME), of)).body for dialect in ALL
    )
    assert WORDS[of] == (
        evo["status"],
        of_kie["data"]["state"],
        tensors["data"]["image_status"],
        turbo["data"]["status"],
        evo.get("error", {}).get("code", ""),
        of_kie["data"]["failCode"],
    )


@each_dialect
@pytest.mark.parametrize("kind", errors.leaves(), ids=lambda kind: kind.__name__)
def test_a_task_that_ended_by_any_error_is_shown(
    dialect: Dialect, kind: type[errors.ZingError]
) -> None:
    golden = goldens.load(dialect.NAME)
    shown = dialect.shown(goldens.view(golden, "failed Internal", error=kind.__name__))
    assert shown.status == 200
    assert "It did not work." in goldens.compact(shown.body)


@each_dialect
def test_what_went_wrong_inside_is_not_told(dialect: Dialect) -> None:
    body = dialect.refused(errors.Internal("password in /etc/zing")).body
    assert "password" not in goldens.compact(body)


def test_every_task_error_code_of_evolink_is_used() -> None:
    # dialects.md 2.1.2, as EvoLink documents them.
    documented = """content_policy_violation invalid_parameters image_processing_error
    image_dimension_mismatch request_cancelled generation_failed_no_content service_error
    generation_timeout resource_exhausted quota_exceeded service_unavailable resource_not_found
    unknown_error""".split()
    assert len(documented) == 13
    assert set(evolink.TASK_ERRORS.values()) == set(documented)


# What clients take from a reply


@pytest.mark.parametrize("of", WORDS)
@pytest.mark.parametrize("call", ["created", "shown", "cancelled"])
def test_the_first_id_and_status_in_an_evolink_body_are_the_tasks(call: str, of: str) -> None:
    golden = goldens.load("evolink")
    text = goldens.compact(getattr(evolink, call)(goldens.view(golden, of)).body)
    found = [re.findall(rf'"{name}":"([^"]*)"', text)[0] for name in ("id", "status")]
    assert found == [golden["public_id"], "pending" if call == "created" else WORDS[of][0]]


def test_kie_never_answers_5xx_to_a_prompt_that_was_blocked_or_cancelled() -> None:
    for of in ("failed Blocked", "cancelled"):
        data = kie.shown(goldens.view(goldens.load("kie"), of)).body["data"]
        assert int(data["failCode"]) < 500


@each_dialect
def test_an_id_has_its_shape_and_is_read_back(dialect: Dialect) -> None:
    pattern = goldens.load(dialect.NAME)["id"]["pattern"]
    pick = random.Random(7)
    found = {dialect.new_id(goldens.NOW, pick) for _ in range(50)}
    assert len(found) > 40
    for public_id in found:
        assert re.fullmatch(pattern, public_id)
        asked = dict.fromkeys(("id", "taskId", "taskid", "task_id"), public_id)
        assert list(dialect.task_ids(asked)) == [public_id]


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1", evolink),
        ("/v1/images/edits", evolink),
        ("/v1/images/zimage", tensorslab),
        ("/v1/images/zimages", evolink),
        ("/api/v1/jobs", kie),
        ("/api/v2", zimageturbo),
        ("/apis", None),
        ("/", None),
    ],
)
def test_an_address_belongs_to_the_dialect_of_its_longest_prefix(
    path: str, dialect: Dialect | None
) -> None:
    assert below(path) is dialect


# What is taken and what is not, over all dialects


@each_dialect
@pytest.mark.parametrize("character", ["a", "猫", "🐈"])
def test_a_prompt_may_have_as_many_characters_as_documented(
    dialect: Dialect, character: str
) -> None:
    name, limit = goldens.NAMES[dialect.NAME]["prompt"], goldens.LIMITS[dialect.NAME]
    assert ask_prompt(dialect, character * limit) == character * limit
    error = refusal(dialect, asking(dialect, "prompt", character * (limit + 1)))
    assert (type(error), error.field) == (errors.BadPrompt, name)


@each_dialect
@pytest.mark.parametrize("prompt", ["", " \n", "a\x00b", "\ud800", "<|im_end|>"])
def test_a_prompt_that_cannot_be_drawn_is_refused_by_name(dialect: Dialect, prompt: str) -> None:
    error = refusal(dialect, asking(dialect, "prompt", prompt))
    assert (type(error), error.field) == (errors.BadPrompt, goldens.NAMES[dialect.NAME]["prompt"])


NO = "no"
ANY = None
# Asked -> the seed in EvoLink, kie, TensorsLab, zimageturbo.
SEEDS: list[tuple[Any, list[Any]]] = [
    (None, [ANY, ANY, ANY, ANY]),
    (0, [NO, ANY, ANY, 0]),
    (-1, [NO, ANY, ANY, ANY]),
    (-2, [NO, ANY, NO, NO]),
    (1, [1, 1, 1, 1]),
    (SEED_MAX, [SEED_MAX] * 4),
    (2**31, [NO, ANY, NO, NO]),
    (2**63, [NO, ANY, NO, NO]),
    (1.5, [NO, ANY, NO, NO]),
    ("7", [NO, ANY, 7, 7]),
    (True, [NO, ANY, NO, NO]),
    ("", [NO, ANY, ANY, NO]),
]


@pytest.mark.parametrize(("asked", "seeds"), SEEDS, ids=lambda each: repr(each))
def test_a_seed_is_taken_as_documented(asked: Any, seeds: list[Any]) -> None:
    for dialect, seed in zip(ALL, seeds, strict=True):
        fields = asking(dialect, "seed", asked)
        if seed == NO:
            error = refusal(dialect, fields)
            assert (type(error), error.field) == (
                errors.BadSeed,
                goldens.NAMES[dialect.NAME]["seed"],
            )
        else:
            assert dialect.parse(fields).seed == seed


@pytest.mark.parametrize("dialect", [evolink, tensorslab, zimageturbo], ids=lambda d: d.NAME)
@pytest.mark.parametrize(("side", "taken"), [(375, False), (376, True), (1536, True)])
def test_a_side_is_376_to_1536(dialect: Dialect, side: int, taken: bool) -> None:
    for size in ((side, 1024), (1024, side)):
        fields = asking(dialect, "size", f"{size[0]}x{size[1]}")
        if taken:
            request = dialect.parse(fields)
            assert (request.width, request.height) == size
        else:
            error = refusal(dialect, fields)
            assert (type(error), error.field) == (
                errors.BadSize,
                goldens.NAMES[dialect.NAME]["size"],
            )


def test_a_side_of_1537_is_refused_where_a_limit_is_documented_and_else_scaled() -> None:
    for dialect in (evolink, zimageturbo):
        assert isinstance(refusal(dialect, asking(dialect, "size", "1537x1024")), errors.BadSize)
    scaled = tensorslab.parse(asking(tensorslab, "size", "1537x1024"))
    assert (scaled.width, scaled.height) == (1536, 1023)


# Anything at all


NAMES = """model prompt size seed n nsfw_check callback_url callBackUrl input resolution
prompt_extend sourceImage imageUrl aspect_ratio width height""".split()
INNER = "prompt aspect_ratio nsfw_checker seed".split()
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=3),
    st.sampled_from(["z-image", "z-image-turbo", "16:9", "1024x768", "9" * 19 + "*376", "2K", "7"]),
)
VALUES = st.recursive(PLAIN, lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(), of))
FIELDS = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5),
    VALUES | st.dictionaries(st.sampled_from(INNER), VALUES),
    max_size=6,
)


@each_dialect
@given(fields=FIELDS, whole=st.booleans())
def test_any_fields_make_a_request_within_limits_or_a_bad_input(
    dialect: Dialect, fields: dict[str, Any], whole: bool
) -> None:
    least, limit = goldens.LEAST[dialect.NAME], goldens.LIMITS[dialect.NAME]
    fields = least | fields if whole else fields
    request = goldens.outcome(lambda: dialect.parse(fields))
    if isinstance(request, errors.ZingError):
        assert isinstance(request, errors.BadInput)
        assert request.field
        assert goldens.compact(dialect.refused(request).body).encode()
        return
    assert len(check_prompt(request.prompt)) <= limit
    assert min(request.width, request.height) >= 376
    assert max(request.width, request.height) <= 1536
    assert request.seed is None or 0 <= request.seed <= SEED_MAX
    assert isinstance(request.strict, bool)
    assert request.callback_url is None or request.callback_url
    shown = dialect.shown(goldens.view(goldens.load(dialect.NAME), "queued", fields=fields))
    assert json.loads(goldens.compact(shown.body).encode())


# A word of a dialect that is spelt otherwise is noticed


@each_dialect
def test_every_word_and_number_of_a_dialect_is_noticed_when_it_changes(dialect: Dialect) -> None:
    golden = goldens.load(dialect.NAME)
    verdicts = {where: goldens.passes(mutant, golden) for where, mutant in goldens.mutants(dialect)}
    assert verdicts.pop("as it is")
    assert len(verdicts) > 60
    assert [where for where, passed in verdicts.items() if passed] == []


def test_a_delete_names_one_to_a_hundred_tasks() -> None:
    ids = [f"zimg_{number:016x}" for number in range(101)]
    assert tensorslab.task_ids({"taskids": ids[:100]}) == ids[:100]
    for wrong in (ids, [], "zimg_0", {"0": ids[0]}):
        with pytest.raises(errors.BadField):
            tensorslab.task_ids({"taskids": wrong})
