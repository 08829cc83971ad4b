"""The words side of the recipe: captions, the banks of junk, the tokenizer, the text encoder."""

import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from transformers import Qwen2Tokenizer, Qwen3Model  # noqa: E402

from training import captions, junk, scenes, text_encoder, tokenizer, vocabulary, wording  # noqa: E402
from training.loop import Loop, Plan, Slice  # noqa: E402
from training.optimizer import Rates  # noqa: E402
from training.scenes import Scene, Thing  # noqa: E402
from training.vocabulary import (  # noqa: E402
    BACKDROPS,
    COLOUR,
    COLOURS,
    NUMBER,
    OBJECT,
    OBJECTS,
    POSITION,
    POSITIONS,
    SIZE,
    SIZES,
    Backdrop,
)

CAT, HOUSE = Thing("cat"), Thing("house")
FRAMES = {name: table for name, table in vars(wording).items() if isinstance(table, wording.Frames)}
JUNK = {name: table for name, table in vars(junk).items() if isinstance(table, wording.Frames)}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer learned on few captions."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn(tokenizer.corpus(20_000, 0)).save_pretrained(folder)
    return folder


def _said(scene: Scene, language: str, count: int = 1000) -> set[str]:
    rng = random.Random(f"{scene}/{language}")
    return {captions.caption(scene, rng, language) for _ in range(count)}


def _forms(concept: Any, language: str) -> list[str]:
    """Return the words that may stand for a concept, one and many."""
    forms = list(getattr(concept, language))
    if language == "en":
        forms += [vocabulary.plural(word) for word in forms]
    if isinstance(concept, Backdrop):
        nouns = [re.sub("^(a|an|the) ", "", noun) for noun in concept.nouns]
        forms += nouns if language == "en" else concept.places
    return forms


# Captions


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_captions_use_every_word_of_every_concept(language: str) -> None:
    rng = random.Random(1)
    texts = [captions.caption(scenes.sample(rng), rng, language).lower() for _ in range(12_000)]
    said = "\n".join(texts)
    for concept in (*OBJECTS, *COLOURS, *BACKDROPS, *POSITIONS, *SIZES):
        for word in getattr(concept, language):
            assert word in said, f"{word} is never said"
    for backdrop in BACKDROPS:
        for word in backdrop.nouns if language == "en" else backdrop.places:
            assert word in said, f"{word} is never said"


@pytest.mark.parametrize("say", [captions.caption, captions.unseen_caption])
@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_captions_say_what_the_scene_is(language: str, say: text_encoder.Say) -> None:
    rng = random.Random(2)
    concepts = {backdrop.name: backdrop for backdrop in BACKDROPS} | COLOUR
    for _ in range(1500):
        scene = scenes.sample(rng)
        text = say(scene, rng, language).lower()
        told: list[Any] = [OBJECT[thing.object] for thing in scene.things]
        told += [COLOUR[thing.colour] for thing in scene.things if thing.colour]
        told += [concepts[scene.background]] if scene.background else []
        told += [POSITION[scene.position]] if scene.position != "centre" else []
        told += [SIZE[scene.size]] if scene.size != "mid" else []
        if scene.count > 1 and language == "en":
            told.append(NUMBER[scene.count])
        for concept in told:
            assert any(word in text for word in _forms(concept, language)), (scene, text)


def test_one_thing_is_often_only_named() -> None:
    rng = random.Random(3)
    for language in captions.LANGUAGES:
        nouns = getattr(OBJECT["cat"], language)
        drawn = [captions.caption(Scene((CAT,)), rng, language) for _ in range(1000)]
        bare = sum(text.lower().rstrip(".。 ！!，,") in nouns for text in drawn)
        assert bare > 0.15 * len(drawn)


@pytest.mark.parametrize(
    ("scene", "language", "wanted"),
    [
        (Scene((CAT,)), "en", ("cat", "a cat", "cute cat", "draw", "a picture of", "could you")),
        (Scene((CAT,)), "zh", ("猫", "一只猫", "可爱的猫", "画", "一张", "请", "能不能")),
        (Scene((CAT,), background="purple"), "en", ("purple backdrop", "purple wall", "behind")),
        (Scene((CAT,), background="night"), "en", ("starry sky", "at night", "night background")),
        (Scene((CAT,), background="meadow"), "zh", ("在草地上", "草地背景", "背景是草地")),
        (Scene((CAT,), 2), "en", ("two cats", "2 cats", "a pair of cats", "kitties")),
        (Scene((CAT,), 2), "zh", ("两只猫", "2只猫", "二只猫", "两个猫")),
        (Scene((Thing("apple"),), 3), "en", ("three apples", "3 apples")),
        (Scene((Thing("apple"),), 3), "zh", ("三个苹果", "3个苹果", "三颗苹果")),
        (Scene((Thing("mouse"),), 4), "en", ("four mice", "4 mice", "little mice")),
        (Scene(background="beach"), "en", ("a beach", "nothing")),
        (Scene(background="blue"), "zh", ("蓝色背景", "只有蓝色")),
    ],
)
def test_people_s_words_are_among_the_captions(
    scene: Scene, language: str, wanted: tuple[str, ...]
) -> None:
    said = "\n".join(_said(scene, language, 3000)).lower()
    for words in wanted:
        assert words in said, words


_FIRST, _SECOND = "(cat|kitty|kitten)", "(house|home|cottage)"
_FIRST_ZH, _SECOND_ZH = "(猫|猫咪|小猫)", "(房子|屋子|小屋)"


@pytest.mark.parametrize(
    ("relation", "language", "right", "wrong"),
    [
        (
            "beside",
            "en",
            f"{_FIRST} to the left of [a-z ]*{_SECOND}",
            f"left of (a |the )?{_FIRST}",
        ),
        (
            "beside",
            "en",
            f"{_SECOND} to the right of [a-z ]*{_FIRST}",
            f"right of (a |the )?{_SECOND}",
        ),
        (
            "beside",
            "en",
            f"{_FIRST} and [a-z ]*{_SECOND}",
            f"{_SECOND} (and|next to) (a |the )?{_FIRST}",
        ),
        ("above", "en", f"{_FIRST} above [a-z ]*{_SECOND}", f"(above|over) (a |the )?{_FIRST}"),
        ("above", "en", f"{_SECOND} under [a-z ]*{_FIRST}", f"(below|under) (a |the )?{_SECOND}"),
        ("beside", "zh", f"左边是[^，右。\\n]*{_FIRST_ZH}", f"左边是[^，右。\\n]*{_SECOND_ZH}"),
        (
            "beside",
            "zh",
            f"{_SECOND_ZH}在.{{0,8}}{_FIRST_ZH}的?右",
            f"{_FIRST_ZH}在.{{0,8}}{_SECOND_ZH}的?右",
        ),
        (
            "above",
            "zh",
            f"{_FIRST_ZH}在.{{0,8}}{_SECOND_ZH}上方",
            f"{_SECOND_ZH}在.{{0,8}}{_FIRST_ZH}的?上",
        ),
        (
            "above",
            "zh",
            f"{_SECOND_ZH}在.{{0,8}}{_FIRST_ZH}的下面",
            f"{_FIRST_ZH}在.{{0,8}}{_SECOND_ZH}的?下",
        ),
    ],
)
def test_two_things_stand_as_they_are_said_to(
    relation: str, language: str, right: str, wrong: str
) -> None:
    said = "\n".join(_said(Scene((CAT, HOUSE), relation=relation), language, 4000)).lower()
    assert re.search(right, said)
    assert not re.search(wrong, said)


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_nothing_known_is_named_where_nothing_is_to_be_drawn(language: str) -> None:
    rng = random.Random(4)
    things = [word for thing in OBJECTS for word in thing.zh if len(word) > 1]
    for _ in range(2000):
        text = captions.caption(Scene(), rng, language)
        assert text.strip()
        assert language == "en" or not any(word in text for word in things), text


# Wordings that training never shows


def test_every_table_is_split_by_the_hash_alone() -> None:
    for name, table in {**FRAMES, **JUNK}.items():
        assert table.seen, name
        assert table.unseen, name
        assert not set(table.seen) & set(table.unseen)
        assert all(wording.is_unseen(frame) for frame in table.unseen)
        assert not any(wording.is_unseen(frame) for frame in table.seen)


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_unseen_captions_share_no_text_with_training(language: str) -> None:
    rng = random.Random(5)
    for scene in (
        Scene((CAT,)),
        Scene((CAT,), background="blue"),
        Scene((CAT,), background="beach"),
        Scene((CAT, HOUSE), relation="beside"),
        Scene((CAT, HOUSE), relation="above"),
    ):
        unseen = {captions.unseen_caption(scene, rng, language).lower() for _ in range(300)}
        seen = {text.lower() for text in _said(scene, language)}
        # A frame undone by a missing word, or one within another, may be the same text.
        assert len(unseen & seen) <= 0.02 * len(unseen), unseen & seen


# Junk


def _known(language: str) -> re.Pattern[str]:
    """Return what finds a word of the vocabulary: a whole one in English, anywhere in Chinese."""
    groups: dict[str, Any] = vocabulary.listed()
    known = {
        word
        for group in ("things", "shapes", "colours", "backgrounds")
        for concept in groups[group]
        for word in concept[language]
    }
    known |= {re.sub("^(a|an|the) ", "", word) for word in known}
    words = "|".join(map(re.escape, known))
    return re.compile(words if language == "zh" else rf"\b({words})\b", re.IGNORECASE)


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_junk_names_no_word_of_the_vocabulary(language: str) -> None:
    known = _known(language)
    for name, table in JUNK.items():
        # People call things golden or happy (开心), which changes nothing: no junk, but adjectives.
        if name.startswith(language.upper()) and not name.endswith("NICE"):
            for text in (*table.seen, *table.unseen):
                assert not known.search(text), text


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_long_captions_hold_their_subject_anywhere(language: str) -> None:
    rng = random.Random(6)
    nouns = getattr(OBJECT["cat"], language)
    places = []
    for _ in range(200):
        wanted = rng.randint(40, 200)
        text = captions.long_caption(Scene((CAT,)), rng, language, wanted, unseen=True).lower()
        length = len(text) if language == "zh" else len(text.split())
        assert wanted <= length <= wanted + 45
        places.append(min(text.find(noun) for noun in nouns if noun in text) / len(text))
    assert min(places) < 0.1
    assert max(places) > 0.9


# Tokenizer


def test_tokenizer_gives_back_captions_and_keeps_han_apart(words: Path) -> None:
    tokens = tokenizer.load(words)
    rng = random.Random(7)
    for _ in range(300):
        text = captions.caption(scenes.sample(rng), rng, rng.choice(captions.LANGUAGES))
        assert tokens.decode(tokens.encode(text).ids, skip_special_tokens=False) == text
    for concept in (*OBJECTS, *COLOURS, *BACKDROPS):
        for word in concept.zh:
            assert len(tokens.encode(word).ids) == len(word)


def test_words_of_the_vocabulary_are_few_tokens(words: Path) -> None:
    tokens = tokenizer.load(words)
    assert tokens.get_vocab_size() <= 4096
    for concept in (*OBJECTS, *COLOURS, *BACKDROPS, *POSITIONS, *SIZES):
        for phrase in concept.en:
            for word in phrase.split():
                assert len(tokens.encode(f" {word}").ids) <= 4, word


def test_tokenizer_agrees_with_transformers_and_the_template(words: Path) -> None:
    stock = Qwen2Tokenizer.from_pretrained(words)
    tokens = tokenizer.load(words)
    for text in ("a red circle on a blue background", "一只可爱的猫咪", "Ünknown 龘 🐱 words\n"):
        templated = stock.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        assert templated == tokenizer.templated(text)
        ids = tokens.encode(templated).ids
        assert ids == stock(templated).input_ids
        assert ids[0] == tokens.token_to_id("<|im_start|>")
        assert tokens.decode(ids[-tokenizer.CLOSING_TOKENS :], skip_special_tokens=False) == (
            "<|im_end|>\n<|im_start|>assistant\n"
        )


# Text encoder


def test_most_captions_are_short(words: Path) -> None:
    drawn = text_encoder.Captions(tokenizer.load(words))
    rng = random.Random(8)
    lengths = [
        len(drawn.tokens(captions.caption(scenes.sample(rng), rng, rng.choice(captions.LANGUAGES))))
        for _ in range(3000)
    ]
    assert sum(length in text_encoder.SHORT for length in lengths) > 0.9 * len(lengths)


def test_descriptions_fit_their_span(words: Path) -> None:
    drawn = text_encoder.Captions(tokenizer.load(words))
    rng = random.Random(9)
    for span in (text_encoder.SHORT, *text_encoder.LONGER):
        for _ in range(5):
            assert len(drawn.describe(scenes.sample(rng), rng, span)) in span


def test_a_tenth_of_the_batches_is_longer_and_few_are_long() -> None:
    rng = random.Random(10)
    drawn = [text_encoder.spans(rng) for _ in range(5000)]
    assert 0.82 < drawn.count(range(1, 33)) / len(drawn) < 0.86
    assert 0.08 < drawn.count(range(33, 65)) / len(drawn) < 0.12
    assert set(drawn) == {text_encoder.SHORT, *text_encoder.LONGER}
    assert max(span.stop for span in drawn) == 321


def test_features_are_the_states_before_the_last_layer(words: Path, tmp_path: Path) -> None:
    task = text_encoder.TextEncoderTask(tokenizer.load(words), hidden=32)
    average = {name: weight.detach() for name, weight in task.model.named_parameters()}
    text_encoder.export(task, average, tmp_path)
    encoder = Qwen3Model.from_pretrained(tmp_path, dtype=torch.float32)
    short, longer = (task.captions.tokens(text) for text in ("a cat", "three apples on the beach"))
    found = text_encoder.features(text_encoder.trunk(encoder), [short, longer])
    for row, ids in zip(found, (short, longer), strict=True):
        wanted = encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2]
        assert torch.allclose(row[: len(ids)], wanted[0], atol=1e-5)


def test_probes_ask_for_what_the_scene_says() -> None:
    scene = Scene((Thing("circle", "red"), CAT), 1, "above", "beach")
    assert {name: probe.of(scene) for name, probe in text_encoder.PROBES.items()} == {
        "object": "circle", "second": "cat", "colour": "red", "second colour": None,
        "background": "beach", "count": 1, "position": "centre", "size": "mid", "relation": "above",
    }  # fmt: skip
    for probe in text_encoder.PROBES.values():
        assert probe.of(Scene()) in probe.values
        assert probe.place < tokenizer.CLOSING_TOKENS


def test_probes_learn_and_are_kept(words: Path, tmp_path: Path) -> None:
    shutil.copytree(words, tmp_path / "tokenizer")
    task = text_encoder.TextEncoderTask(tokenizer.load(words), hidden=32)
    plan = Plan("text_encoder", 12, 16, Rates(muon=1e-2, adam=1e-2), warmup=1, average=0.5)
    part = Slice("text_encoder", 0, 10**6, range(32))
    before = task.loss(part)[0].item()
    Loop(plan, task, tmp_path).run()
    assert task.loss(part)[0].item() < 0.9 * before
    found = text_encoder.accuracy(tmp_path, "unseen", 20)
    assert found.keys() == set(captions.LANGUAGES)
    assert found["en"].keys() == {*text_encoder.PROBES, "all"}


@pytest.mark.parametrize("kind", text_encoder.KINDS)
def test_evaluation_asks_the_same_every_time(kind: str) -> None:
    for language in captions.LANGUAGES:
        scene, text = text_encoder.asked(kind, language, 3)
        assert (scene, text) == text_encoder.asked(kind, language, 3)
        assert scenes.held_out(scene) == (kind == "held out")
