"""What is not drawn: the prompt filter of level "basic", which is always on.

Words only, no model: a lexicon in English and Chinese (lexicon.tsv) over a prompt from which the
usual disguises are taken. It blocks what is clear and lets through what needs judgement.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from zing.errors import Blocked

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVEL = "basic"

# What a refusal says in place of the words themselves, the gravest first.
_CATEGORIES = {
    "minors": "the protection of the young",
    "sexual": "adult content",
    "gore": "graphic violence",
    "self_harm": "danger to life",
}

# Marks, format characters (zero-width, bidi, soft hyphen) and half characters: seen by nobody, or
# only as an accent. Variation selectors are marks.
_UNSEEN = {"Mn", "Me", "Cf", "Cs"}

# What passes for another character after NFKD, to what it passes for.
_PAIRS = (
    # Cyrillic, Greek, Armenian; capitals too, as some resemble another letter when small.
    ("авекмнорстухѕіјԁԛԝһѵӏпАВЕКМНОРСТУХЅІЈ", "abekmhopctyxsijdqwhvlnabekmhopctyxsij"),
    ("αβγεικνορστυχηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abyeikvopotuxnwabezhikmnoptyx"),
    ("օսհո", "ouhn"),
    # Latin with strokes, without dots, of phonetics, and its small capitals.
    ("øđłħıɑɡɩØĐŁĦ", "odlhiagiodlh"),
    ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"),
    # Traditional to simplified, for the characters of the lexicon.
    (
        "絲為麗麼亂書會倫體侶關獸內寫動剝勢發髮響噴國場塊處頭姦妝孌嬰學實寶宮對屍歲歳異懷",
        "丝为丽么乱书会伦体侣关兽内写动剥势发发响喷国场块处头奸妆娈婴学实宝宫对尸岁岁异怀",
    ),
    (
        "戀惡慣護掛換斷斬樣樓殘匯沒湧溫濕溼點爛燒愛狀貓現電畫著離穢係級織絕統緒緣腸臟髒腦",
        "恋恶惯护挂换断斩样楼残汇没涌温湿湿点烂烧爱状猫现电画着离秽系级织绝统绪缘肠脏脏脑",
    ),
    (
        "腳脫節聲蕩藥蘿褲視話誘調談貨輪進遠遲錯鏡陰際預頻顏騷驟雞鷄黃強殺漿婬羣莖躶裝鮮劃臺兒",
        "脚脱节声荡药萝裤视话诱调谈货轮进远迟错镜阴际预频颜骚骤鸡鸡黄强杀浆淫群茎裸装鲜划台儿",
    ),
)
_LOOK_ALIKES = {
    one: other for ones, others in _PAIRS for one, other in zip(ones, others, strict=True)
}
# Fillers and a blank that are letters or symbols by category.
_LOOK_ALIKES |= dict.fromkeys("\u115f\u1160\u2800", "")
_MASKED = "".join(_LOOK_ALIKES)
# Letters as flags, and white on black: NFKD leaves these three alphabets. Ranges in the pattern,
# as `re` is slow with single characters beyond U+FFFF.
for _a in (0x1F150, 0x1F170, 0x1F1E6):
    _LOOK_ALIKES |= {chr(_a + place): chr(ord("a") + place) for place in range(26)}
    _MASKED += f"{chr(_a)}-{chr(_a + 25)}"

# All patterns are texts until they are first used: compiling them takes longer than all the rest
# of this module.
_LEET = str.maketrans("013457@$", "oieastas")
_LEET_INSIDE = r"(?<=[a-z])[013457@$]+(?=[a-z])"
_LEET_BESIDE = r"(?<=[a-z])[@$]+|(?<![@$])[@$]+(?=[a-z])"
_ONE_INSIDE = r"(?<=[a-z])1+(?=[a-z])"
_SPELLED = r"(?<![a-z])[a-z](?:[ ._*·•,~|/+\-]{1,2}[a-z]){2,}(?![a-z])"
_NEITHER_ASCII_NOR_HAN = r"[^\x00-\x7f\u4e00-\u9fff]+"
_HAN = r"[\u3400-\u9fff]"
_BETWEEN_HAN = rf"(?<={_HAN})[\s._*·•・~|/\\+=#^\-]+(?={_HAN})"
# Single characters with commas between them; whole words with commas are a list and stay one.
_LISTED_HAN = rf"(?<!{_HAN}){_HAN}(?:[,、。;:!?]{_HAN}){{2,}}(?!{_HAN})"
_WORD = r"[a-z]+"

# "15-year-old", "9yo", "14岁"; "aged 12"; "十二岁", below 18 only.
_AGES = (
    r"([0-9]{1,3})(?:[ \-]*(?:(?:years?|yrs?)[ \-]*old|y/?o)(?![a-z])|岁)",
    r"age(?<![a-z]age)d? ([0-9]{1,3})",
)
_HAN_AGE = r"(?<![一二三四五六七八九十百])(?:[一二两三四五六七八九]|十[一二三四五六七]?)岁"
_ADULT = 18

# A term spelled out counts from four letters on, as shorter ones begin too many harmless words;
# beyond twenty nobody spells.
_SPELLED_MIN, _SPELLED_MAX = 4, 20


@dataclass(frozen=True)
class _Term:
    """One thing to look for: its parts, and where there are several the pattern of all of it."""

    category: str
    parts: tuple[str, ...]
    gap: str

    def is_in(self, text: str) -> bool:
        if len(self.parts) == 1:
            return self.parts[0] in text
        # The parts first: a pattern is slow to compile, and on texts of near misses slow to run.
        found = all(part in text for part in self.parts)
        return found and re.search(self.gap.join(self.parts), text) is not None


@dataclass(frozen=True)
class _Lexicon:
    """The terms of one language.

    blocking  by their first word or Chinese character, so that most are never looked for
    harmless  phrases in which terms mean no harm
    spelled   categories of English terms by their letters alone
    """

    blocking: dict[str, list[_Term]] = field(default_factory=dict)
    harmless: list[str] = field(default_factory=list)
    spelled: dict[str, str] = field(default_factory=dict)


def normalise(prompt: str) -> str:
    """The prompt as it is matched: folded, without accents, disguises and letters set apart.

    For matching only: it may read as nonsense. Normalising again changes nothing.
    """
    return _joined(_unleeted(_folded(prompt)))


def check_prompt(prompt: str) -> None:
    """Raise Blocked where the lexicon finds what is not drawn; the message repeats no word of it.

    Words for minors together with suggestive words block wherever they stand in the prompt.
    """
    found: set[str] = set()
    for reading in _readings(prompt):
        found |= _found(reading)
    if "minor_word" in found and found & {"suggestive", "sexual"}:
        found.add("minors")
    for category, name in _CATEGORIES.items():
        if category in found:
            raise Blocked(f"The safety filter blocked this prompt: {name}.")


def _readings(prompt: str) -> Iterator[str]:
    """The prompt with its letters set apart as yet: a 1 read as i, and as l where there is one."""
    folded = _folded(prompt)
    yield _unleeted(folded)
    if "1" in folded and re.search(_ONE_INSIDE, folded):
        yield _unleeted(re.sub(_ONE_INSIDE, lambda ones: "l" * len(ones[0]), folded))


def _folded(text: str) -> str:
    """Compatibility forms, case, accents, unseen characters and look-alikes folded away."""
    if text.isascii():
        return text.casefold()
    # Marks go first: putting thousands in their canonical order takes quadratic time.
    split = _unmasked(_seen(unicodedata.normalize("NFKD", _seen(text))))
    folded = unicodedata.normalize("NFKD", split.casefold())
    if folded != split:
        folded = _unmasked(_seen(folded))
    return unicodedata.normalize("NFC", folded)


def _seen(text: str) -> str:
    others = set("".join(re.findall(_NEITHER_ASCII_NOR_HAN, text)))
    unseen = {each for each in others if unicodedata.category(each) in _UNSEEN}
    return "".join([each for each in text if each not in unseen]) if unseen else text


def _unmasked(text: str) -> str:
    for masked in set(re.findall(f"[{_MASKED}]", text)):
        text = text.replace(masked, _LOOK_ALIKES[masked])
    return text


def _unleeted(text: str) -> str:
    text = re.sub(_LEET_INSIDE, lambda run: run[0].translate(_LEET), text)
    if "@" not in text and "$" not in text:
        return text
    return re.sub(_LEET_BESIDE, lambda run: run[0].translate(_LEET), text)


def _joined(text: str) -> str:
    """The text with "n u d e" and "裸 体" as one word each."""
    text = re.sub(_SPELLED, lambda run: _letters(run[0]), text)
    if text.isascii():
        return text
    text = re.sub(_BETWEEN_HAN, "", text)
    return re.sub(_LISTED_HAN, lambda run: "".join(re.findall(_HAN, run[0])), text)


def _letters(run: str) -> str:
    return "".join(re.findall(_WORD, run))


def _found(reading: str) -> set[str]:
    """The categories of all terms in a reading."""
    text = _joined(reading)
    english = [_stem(word) for word in re.findall(_WORD, text) if word != "s"]
    found = _look(_lexicon("en"), english, f" {' '.join(english)} ")
    if not text.isascii():
        firsts = f"[{''.join(_lexicon('zh').blocking)}]"
        found |= _look(_lexicon("zh"), re.findall(firsts, text), text)
    found |= {each for run in re.findall(_SPELLED, reading) for each in _spelled_out(_letters(run))}
    if _names_minor_age(text):
        found.add("minor_word")
    return found


def _names_minor_age(text: str) -> bool:
    ages = (int(age) for pattern in _AGES for age in re.findall(pattern, text))
    if any(0 < age < _ADULT for age in ages):
        return True
    return "岁" in text and re.search(_HAN_AGE, text) is not None


def _look(lexicon: _Lexicon, firsts: list[str], text: str) -> set[str]:
    """The categories of the terms that begin with one of `firsts` and are in a text."""
    terms = [term for first in set(firsts) for term in lexicon.blocking.get(first, ())]
    found = [term for term in terms if term.is_in(text)]
    parts = {part for term in found for part in term.parts}
    for phrase in lexicon.harmless:
        if any(part in phrase for part in parts):
            text = _without(phrase, text)
    return {term.category for term in found if term.is_in(text)}


def _without(phrase: str, text: str) -> str:
    """The text with # for a phrase: what stood around it must not become one word."""
    # Twice, as of two in a row the second has lost the space before it to the first.
    return text.replace(phrase, " # ").replace(phrase, " # ")


def _spelled_out(letters: str) -> Iterator[str]:
    """The categories of terms that such letters begin with, an article aside.

    Nothing is looked for inside: G R A P E on a poster is a fruit.
    """
    spelled = _lexicon("en").spelled
    for start in (letters, letters.removeprefix("a")):
        for end in range(_SPELLED_MIN, min(len(start), _SPELLED_MAX) + 1):
            if start[:end] in spelled:
                yield spelled[start[:end]]


def _stem(word: str) -> str:
    """The word without the s of a plural; the same for the terms, so nonsense does no harm."""
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word


@cache
def _lexicon(language: str) -> _Lexicon:
    """The terms of a language, read when first needed."""
    # Imported here: it is slow to import, and most of what imports this module checks no prompt.
    from importlib import resources

    lexicon = _Lexicon()
    lines = (resources.files("zing") / "lexicon.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    for _, row_language, category, pattern in rows[1:]:
        if row_language == language:
            _add(lexicon, language, category, pattern)
    return lexicon


def _add(lexicon: _Lexicon, language: str, category: str, pattern: str) -> None:
    """Add every term of a row: `kill/killing * yourself` is two."""
    for words in product(*(word.split("/") for word in pattern.split(" "))):
        term = _english(category, words) if language == "en" else _chinese(category, words[0])
        first = _stem(words[0]) if language == "en" else words[0][0]
        if category == "harmless":
            lexicon.harmless.append(term.parts[0])
            continue
        lexicon.blocking.setdefault(first, []).append(term)
        if language == "en" and len(term.parts) == 1:
            lexicon.spelled["".join(words)] = category


def _english(category: str, words: tuple[str, ...]) -> _Term:
    text = f" {' '.join(map(_stem, words))} "
    # Possessive, so that a text of near misses is not read many times over.
    return _Term(category, tuple(text.split(" *")), "(?: [a-z]++){0,3}")


def _chinese(category: str, text: str) -> _Term:
    return _Term(category, tuple(text.split("*")), r"[^,。;!?\n]{0,6}")
