"""Which words of a prompt count as understood: whole ones, the longest, and no silly ones."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zing.engine.vocabulary import Vocabulary, told
from zing.engine.zimage.config import Concept, Group, read_manifest

PROMPT_MAX = 2000


def group(name: str, *rows: str) -> Group:
    """A group of concepts, each `english|words/汉|语`."""
    halves = [row.split("/") for row in rows]
    return Group(
        name,
        tuple(Concept(en[:9], tuple(en.split("|")), tuple(zh.split("|"))) for en, zh in halves),
    )


GROUPS = (
    group(
        "objects",
        "cat|kitten|cats/猫|猫咪",
        "bear|bears/熊|棕熊",
        "panda/熊猫|大熊猫",
        "teddy bear/泰迪熊",
        "house/房子",
        "heart/心|爱心",
        "triangle/三角形|三角",
        "owl/猫头鹰",
        "chick/小鸡",
        "fried egg|egg/鸡蛋|煎蛋",
        "elephant/象|大象",
        "horse/马",
        "jack-o'-lantern/南瓜灯",
        "star|stars/星星|五角星",
        "cup of coffee/一杯咖啡",
        "orange/橙子",
    ),
    group("colours", "red/红色|红", "brown/棕色|棕", "orange/橙色|橙", "green/绿色|绿"),
    group("backgrounds", "at night/夜晚", "on the grass/草地"),
    group("counts", "one|1/一|1", "two|a pair of/两|二", "three|3/三"),
    group("positions", "on the left/左边", "at the top/上面"),
    group("sizes", "big/很大的", "medium-sized/中号的"),
    group("relations", "next to|by/旁边", "over/上面"),
)
OURS = Vocabulary(GROUPS)
WORDS = [word for each in GROUPS for concept in each.concepts for word in concept.en + concept.zh]


@pytest.mark.parametrize(
    ("prompt", "understood"),
    [
        ("a red teddy bear", "red,teddy bear"),
        ("A RED Teddy  Bear\nand a Polar bear", "RED,Teddy Bear,bear"),
        ("a cat's house, the cat; CATS", "cat,house,CATS"),
        ("caterpillars bearing heartless redness", ""),
        ("three jack-o'-lanterns and a jack-o’-lantern", "three,jack-o’-lantern"),
        ("a medium-sized cat, a medium sized bear", "medium-sized,cat,medium sized,bear"),
        ("teddy. bear", "bear"),
        ("画cat和star", "cat,star"),
        ("cat_house", "cat,house"),
        ("an orange", "orange"),
        ("ein Bär und eine écat", ""),
        ("", ""),
        ("🐱 ??? \u200b", ""),
        ("一只红色的猫咪在夜晚", "一,红色,猫咪,夜晚"),
        ("棕熊猫", "棕,熊猫"),
        ("大熊猫", "大熊猫"),
        ("小鸡蛋", "鸡蛋"),
        ("猫头鹰和猫", "猫头鹰,猫"),
        ("一杯咖啡", "一杯咖啡"),
        ("五角星星", "五角星"),
        ("红心", "红,心"),
        ("画一个南瓜灯，绿色背景", "一,南瓜灯,绿色"),
    ],
)
def test_whole_words_and_the_longest_are_understood(prompt: str, understood: str) -> None:
    assert ",".join(OURS.understood(prompt)) == understood


@pytest.mark.parametrize(
    "prompt",
    ["抽象的印象", "开心地笑", "小心火车", "马上来", "斑马", "hot dog", "橙汁", "Star Wars"],
)
def test_a_word_inside_another_word_is_none(prompt: str) -> None:
    assert OURS.understood(prompt) == ()


def test_what_a_checkpoint_lists_counts_although_it_holds_other_words() -> None:
    assert OURS.understood("橙子") == ("橙子",)


@pytest.mark.parametrize(
    ("prompt", "understood"),
    [
        ("one big two", ""),
        ("the big one on the left", ""),
        ("two cats, big", "two,cats,big"),
        ("a cat, on the left", "cat,on the left"),
        ("和我一样的猫", "猫"),
        ("一起画一些猫", "猫"),
        ("十二只猫", "猫"),
        ("第一只猫", "猫"),
        ("两只猫和三颗五角星", "两,猫,三,五角星"),
        ("1只猫", "1,猫"),
        ("a cat, 1:1, 16:9, 3.3 mm, 3/1", "cat"),
        ("a cat by Monet", "cat"),
        ("a cat by a house", "cat,by,house"),
        ("猫在房子旁边", "猫,房子,旁边"),
        ("猫在上面", "猫,上面"),
        ("一张图片，夜晚", "夜晚"),
        ("red", "red"),
    ],
)
def test_counts_places_sizes_and_relations_need_their_things(prompt: str, understood: str) -> None:
    assert ",".join(OURS.understood(prompt)) == understood


def test_each_word_is_told_once_as_it_is_first_written() -> None:
    assert OURS.understood("Cat, dog, house, cat, CAT, House") == ("Cat", "house")


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_understood_beside_things(word: str) -> None:
    assert word in OURS.understood(f"{word}只 kitten, house, {word} kitten")


texts = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*WORDS, " ", "的", "x", "，", "，一", "-"]), max_size=12).map(
        "".join
    ),
)


@given(texts)
def test_what_is_understood_stands_in_the_prompt_in_this_order(prompt: str) -> None:
    rest = " ".join(prompt.split())
    for word in OURS.understood(prompt):
        assert word.isprintable()
        _, found, rest = rest.partition(word)
        assert found, (word, prompt)


@given(texts)
def test_understood_words_are_words_of_the_list(prompt: str) -> None:
    known = {tuple(re.findall(r"[^\W_]+", word.casefold())) for word in WORDS}
    for word in OURS.understood(prompt):
        assert tuple(re.findall(r"[^\W_]+", word.casefold())) in known


@pytest.mark.parametrize("word", ["猫", "teddy ", "two cats ", "三只", "1"])
def test_a_prompt_of_nothing_but_words_is_read_soon(word: str) -> None:
    prompt = (word * PROMPT_MAX)[:PROMPT_MAX]
    assert len(OURS.understood(prompt)) <= 2


def test_a_kind_of_words_that_zing_does_not_know_is_of_things() -> None:
    groups = [group("dances", "tango/探戈"), group("counts", "two/两")]
    assert Vocabulary(groups).understood("two tango") == ("two", "tango")


def test_the_builtin_model_understands_every_thing_and_colour_it_lists(builtin: Path) -> None:
    groups = read_manifest(builtin, 1).vocabulary
    vocabulary = Vocabulary(groups)
    listed = {
        each.name: [word for one in each.concepts for word in one.en + one.zh] for each in groups
    }
    assert {"things", "shapes", "colours"} <= listed.keys()
    for word in listed["things"] + listed["shapes"] + listed["colours"]:
        assert vocabulary.understood(word) == (word,)


def test_a_person_is_told_what_was_understood_or_where_the_words_are() -> None:
    assert told(("Cat", "红色"), "builtin") == "understood: Cat, 红色"
    assert "`zing models show builtin` lists them" in told((), "builtin")
    assert told(None, "builtin") == ""
