"""Captions: what a scene is, said in English or Chinese, in everyday wording.

A caption says all that is not default: the things, the colour of a shape when it is set, how many,
how two things stand, the background, a place other than the middle, a size other than mid.

`caption` uses the wordings of training, `unseen_caption` those that training never shows.
"""

import random
import re
from collections.abc import Callable
from typing import Protocol

from training import junk, wording
from training.scenes import Scene, Thing
from training.vocabulary import (
    BACKDROP,
    COLOUR,
    COLOURS,
    NUMBER,
    OBJECT,
    POSITION,
    SIZE,
    Emoji,
    plural,
)
from training.wording import Frames

LANGUAGES = ("en", "zh")

_GROUNDS = (
    "background", "background", "background", "background", "background", "backdrop", "backdrop",
    "wall", "bg", "canvas", "surface", "screen",
)  # fmt: skip
_ZH_GROUNDS = (
    "背景",
    "背景",
    "背景",
    "背景",
    "背景",
    "底色",
    "底",
    "背景墙",
    "墙",
    "画布",
    "背景板",
)
_PLAIN = ("plain", "solid", "simple", "uniform", "flat", "bright", "clean", "light", "dark", "deep")
_ZH_PLAIN = ("纯", "简单的", "干净的", "单一的", "明亮的", "浅", "深")
_FILLERS = ("really", "just", "some", "nice", "kind of", "maybe", "also", "simply", "now", "then")
_ZH_FILLERS = ("呢", "啊", "吧", "就", "也", "那种", "可能", "现在", "比较", "稍微")
_SPARE = frozenset("is are a the there that please me i you be should which we".split())
"""Words of frames that may go missing; not `it`, without which `above it` is above the next."""

_COMMANDS = frozenset(
    "put place have keep move use make paint let take show someone somebody i we how what".split()
)
"""What whole sentences begin with, which nothing can stand around."""

_ZH_COMMANDS = ("把", "让", "请", "我们", "有", "用", "什么")

_ZH_NUMERALS = {1: ("一", "1"), 2: ("两", "两", "2", "二"), 3: ("三", "3"), 4: ("四", "4")}


class _Writer(Protocol):
    """Words scenes in one language."""

    def sentence(self, scene: Scene, rng: random.Random) -> str:
        """Return the plain text of a scene."""

    def finish(self, text: str, rng: random.Random) -> str:
        """Return the text among style words, in some case and punctuation."""


def caption(scene: Scene, rng: random.Random, language: str) -> str:
    """Return one caption of a scene, in a wording of training."""
    return _write(scene, rng, language, unseen=False)


def unseen_caption(scene: Scene, rng: random.Random, language: str) -> str:
    """Return one caption of a scene, in a wording that training never shows."""
    return _write(scene, rng, language, unseen=True)


def long_caption(
    scene: Scene, rng: random.Random, language: str, words: int, unseen: bool = False
) -> str:
    """Return a caption among everyday sentences: at least so many words, Chinese characters.

    `unseen` takes sentences that training never shows; the caption itself is one of training.
    """

    def fits(text: str) -> bool:
        return (len(text) if language == "zh" else len(text.split())) >= words

    return lengthen(caption(scene, rng, language), rng, language, fits, unseen)


def lengthen(
    text: str,
    rng: random.Random,
    language: str,
    fits: Callable[[str], bool],
    unseen: bool = False,
) -> str:
    """Return a text among so many everyday sentences as it takes until `fits` holds.

    It comes anywhere among them, first and last as often as in the middle.
    """
    before = rng.choice((0.0, 1.0, rng.random(), rng.random()))
    while not fits(text):
        more = junk.sentence(rng, language, unseen)
        first, second = (more, text) if rng.random() < before else (text, more)
        text = _two_sentences(first, second, rng, language)
    return text


def _two_sentences(first: str, second: str, rng: random.Random, language: str) -> str:
    if language == "zh":
        return first.rstrip("。") + rng.choice("。。。，；") + second
    stop = rng.choice((". ", ". ", ". ", ", ", "; ", " and "))
    if "." in stop and rng.random() < 0.7:
        second = second[0].upper() + second[1:]
    return first.rstrip(".") + stop + second


def _write(scene: Scene, rng: random.Random, language: str, unseen: bool) -> str:
    writer = _WRITERS[language, unseen]
    return writer.finish(writer.sentence(scene, rng), rng)


def _is_bare(scene: Scene) -> bool:
    """Return whether the one thing is all that there is to say."""
    return len(scene.things) == 1 and scene == Scene(scene.things)


def _with_junk(text: str, rng: random.Random, comma: str, more: str) -> str:
    return more + comma + text if rng.random() < 0.3 else text + comma + more


class _English:
    """Writes English."""

    def __init__(self, unseen: bool) -> None:
        self.unseen = unseen

    def sentence(self, scene: Scene, rng: random.Random) -> str:
        if _is_bare(scene) and not self.unseen and rng.random() < 0.42:
            return self._thing(scene.things[0], rng, plain=rng.random() < 0.75)
        text = self._scene(scene, rng)
        # What is unseen of a sentence with no other frame is what stands around it.
        whole = text.split()[0] in _COMMANDS
        if not whole and (rng.random() < 0.4 or (self.unseen and _is_bare(scene))):
            text = self._fill(wording.EN_WHOLE, rng, x=text)
        return text

    def finish(self, text: str, rng: random.Random) -> str:
        for share in (0.28, 0.1):
            if rng.random() < share:
                text = _with_junk(text, rng, rng.choice((", ", ", ", " ", ". ")), self._junk(rng))
        case = rng.random()
        if case < 0.3:
            text = text[:1].upper() + text[1:]
        elif case < 0.33:
            text = text.upper()
        elif case < 0.35:
            text = text.title()
        if text[-1].isalnum() and rng.random() < 0.25:
            text += rng.choice((".", ".", ".", "!", ",", " "))
        return text

    def _fill(self, frames: Frames, rng: random.Random, **slots: str) -> str:
        frame = rng.choice(frames.of(self.unseen))
        if not self.unseen and rng.random() < 0.12:
            frame = _disturbed(frame, rng)
        return frame.format(**slots)

    def _junk(self, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.12:
            return junk.nonsense(rng, "en")
        if kind < 0.2:
            return junk.unknown(rng, "en", self.unseen)
        if kind < 0.24:
            return junk.sentence(rng, "en", self.unseen)
        return junk.words(junk.EN_STYLE, rng, self.unseen)

    def _scene(self, scene: Scene, rng: random.Random) -> str:
        if not scene.things and (scene.background is None or rng.random() < 0.25):
            subject = self._unknown(rng)
        elif not scene.things:
            return self._empty(scene.background or "", rng)
        elif len(scene.things) == 2:
            subject = self._two(scene, rng)
        else:
            subject = self._subject(scene, rng)
        place = self._place(scene, rng)
        if place and rng.random() < 0.7:
            subject, place = self._fill(wording.EN_PLACED, rng, s=subject, p=place), ""
        if scene.background is not None:
            subject = self._on(scene.background, subject, rng)
        return self._fill(wording.EN_PLACED, rng, s=subject, p=place) if place else subject

    def _unknown(self, rng: random.Random) -> str:
        thing = junk.unknown(rng, "en", self.unseen)
        kind = rng.random()
        if kind < 0.06:
            thing = f"{rng.choice(rng.choice(COLOURS).en)} {thing}"
        elif kind < 0.16:
            thing = f"{junk.words(junk.EN_NICE, rng, self.unseen)} {thing}"
        elif kind < 0.24:
            return f"{thing} and {junk.unknown(rng, 'en', self.unseen)}"
        elif kind < 0.32:
            return junk.sentence(rng, "en", self.unseen)
        return _article(thing, rng)

    def _empty(self, background: str, rng: random.Random) -> str:
        if background in COLOUR:
            colour = self._colour(background, rng)
            frames = wording.EN_EMPTY_COLOUR
            return self._fill(frames, rng, c=colour, ac=_a(colour), g=rng.choice(_GROUNDS))
        backdrop = BACKDROP[background]
        noun = rng.choice(backdrop.nouns)
        slots = {"in": rng.choice(backdrop.en), "an": noun, "n": _bare(noun)}
        return self._fill(wording.EN_EMPTY_SCENE, rng, **slots)

    def _on(self, background: str, subject: str, rng: random.Random) -> str:
        ground = rng.choice(_GROUNDS)
        if rng.random() < 0.05:
            subject = _with_junk(subject, rng, ", ", self._junk(rng))
        if background in COLOUR:
            colour = self._colour(background, rng)
            slots = {"c": colour, "ac": _a(colour), "g": ground}
            return self._fill(wording.EN_COLOURED, rng, s=subject, **slots)
        backdrop = BACKDROP[background]
        if rng.random() < 0.5:
            where = {"in": rng.choice(backdrop.en)}
            return self._fill(wording.EN_IN_PLACE, rng, s=subject, **where)
        noun = rng.choice(backdrop.nouns)
        return self._fill(wording.EN_AT_SCENE, rng, s=subject, an=noun, n=_bare(noun), g=ground)

    def _colour(self, name: str, rng: random.Random) -> str:
        colour = rng.choice(COLOUR[name].en)
        return f"{rng.choice(_PLAIN)} {colour}" if rng.random() < 0.15 else colour

    def _place(self, scene: Scene, rng: random.Random) -> str:
        said = scene.position != "centre" or (len(scene.things) == 1 and rng.random() < 0.07)
        return rng.choice(POSITION[scene.position].en) if said else ""

    def _two(self, scene: Scene, rng: random.Random) -> str:
        first, second = (self._thing(thing, rng) for thing in scene.things)
        if rng.random() > 0.15:
            first, second = _article(first, rng), _article(second, rng)
        frames = wording.EN_ABOVE if scene.relation == "above" else wording.EN_BESIDE
        return self._fill(frames, rng, a=first, b=second)

    def _subject(self, scene: Scene, rng: random.Random) -> str:
        many = scene.count > 1
        thing = self._thing(scene.things[0], rng, many)
        if scene.size != "mid" or (not many and rng.random() < 0.03):
            thing = self._sized(scene.size, thing, rng)
        if not many:
            return _article(thing, rng)
        number = rng.choice(NUMBER[scene.count].en)
        if number.startswith("a "):
            return f"{number} {thing}"
        return self._fill(wording.EN_COUNTED, rng, k=number, m=thing)

    def _sized(self, size: str, thing: str, rng: random.Random) -> str:
        word = rng.choice(SIZE[size].en)
        kind = rng.random()
        if kind < 0.7:
            return f"{word} {thing}"
        if kind < 0.85:
            return f"{rng.choice(('very', 'really', 'rather', 'quite'))} {word} {thing}"
        return f"{thing}{rng.choice((' that is ', ' which is ', ', '))}{word}"

    def _thing(
        self, thing: Thing, rng: random.Random, many: bool = False, plain: bool = False
    ) -> str:
        drawn = OBJECT[thing.object]
        noun = rng.choice(drawn.en)
        noun = plural(noun) if many else noun
        if thing.colour is not None:
            return self._coloured(noun, self._colour(thing.colour, rng), rng)
        kind = 1.0 if plain else rng.random()
        if isinstance(drawn, Emoji) and kind < 0.07:
            return self._coloured(noun, rng.choice(rng.choice(COLOURS).en), rng)
        if kind < 0.25:
            return f"{junk.words(junk.EN_NICE, rng, self.unseen)} {noun}"
        if isinstance(drawn, Emoji) and kind < 0.29:
            return f"{noun} {rng.choice(junk.EN_DOING.of(self.unseen))}"
        return noun

    def _coloured(self, noun: str, colour: str, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.78:
            return f"{colour} {noun}"
        if kind < 0.84:
            return f"{colour}{rng.choice((' colored', ' coloured', '-colored'))} {noun}"
        if kind < 0.88:
            return f"{junk.words(junk.EN_NICE, rng, self.unseen)} {colour} {noun}"
        return f"{noun} {rng.choice(('in', 'that is', 'which is', 'painted', 'colored'))} {colour}"


class _Chinese:
    """Writes Chinese."""

    def __init__(self, unseen: bool) -> None:
        self.unseen = unseen

    def sentence(self, scene: Scene, rng: random.Random) -> str:
        if _is_bare(scene) and not self.unseen and rng.random() < 0.42:
            return self._thing(scene.things[0], rng, plain=rng.random() < 0.75)
        text = self._scene(scene, rng)
        whole = text.startswith(_ZH_COMMANDS)
        if not whole and (rng.random() < 0.4 or (self.unseen and _is_bare(scene))):
            text = self._fill(wording.ZH_WHOLE, rng, x=text)
        return text

    def finish(self, text: str, rng: random.Random) -> str:
        for share in (0.28, 0.1):
            if rng.random() < share:
                text = _with_junk(text, rng, rng.choice("，，，, 。"), self._junk(rng))
        if text[-1].isalnum() and rng.random() < 0.25:
            text += rng.choice(("。", "。", "。", "！", "，", " ", "."))
        return text

    def _fill(self, frames: Frames, rng: random.Random, **slots: str) -> str:
        frame = rng.choice(frames.of(self.unseen))
        if not self.unseen and rng.random() < 0.1:
            frame = _disturbed_chinese(frame, rng)
        return frame.format(**slots)

    def _junk(self, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.12:
            return junk.nonsense(rng, "zh")
        if kind < 0.2:
            return junk.unknown(rng, "zh", self.unseen)
        if kind < 0.24:
            return junk.sentence(rng, "zh", self.unseen)
        return junk.words(junk.ZH_STYLE, rng, self.unseen)

    def _scene(self, scene: Scene, rng: random.Random) -> str:
        if not scene.things and (scene.background is None or rng.random() < 0.25):
            subject = self._unknown(rng)
        elif not scene.things:
            return self._empty(scene.background or "", rng)
        elif len(scene.things) == 2:
            subject = self._two(scene, rng)
        else:
            subject = self._subject(scene, rng)
        place = self._place(scene, rng)
        if place and rng.random() < 0.7:
            subject, place = self._fill(wording.ZH_PLACED, rng, s=subject, p=place), ""
        if scene.background is not None:
            subject = self._on(scene.background, subject, rng)
        return self._fill(wording.ZH_PLACED, rng, s=subject, p=place) if place else subject

    def _unknown(self, rng: random.Random) -> str:
        thing = junk.unknown(rng, "zh", self.unseen)
        kind = rng.random()
        if kind < 0.06:
            return f"{rng.choice(rng.choice(COLOURS).zh)}色的{thing}"
        if kind < 0.16:
            return f"{junk.words(junk.ZH_NICE, rng, self.unseen)}{thing}"
        if kind < 0.24:
            return f"{thing}和{junk.unknown(rng, 'zh', self.unseen)}"
        if kind < 0.32:
            return junk.sentence(rng, "zh", self.unseen)
        return rng.choice(("", "", "一个", "一位", "一只", "一些")) + thing

    def _empty(self, background: str, rng: random.Random) -> str:
        if background in COLOUR:
            colour, ground = self._colour(background, rng), rng.choice(_ZH_GROUNDS)
            return self._fill(wording.ZH_EMPTY_COLOUR, rng, c=colour, g=ground)
        backdrop = BACKDROP[background]
        slots = {"in": rng.choice(backdrop.places), "n": rng.choice(backdrop.zh)}
        return self._fill(wording.ZH_EMPTY_SCENE, rng, **slots)

    def _on(self, background: str, subject: str, rng: random.Random) -> str:
        if rng.random() < 0.05:
            subject = _with_junk(subject, rng, "，", self._junk(rng))
        if background in COLOUR:
            colour, ground = self._colour(background, rng), rng.choice(_ZH_GROUNDS)
            return self._fill(wording.ZH_COLOURED, rng, s=subject, c=colour, g=ground)
        backdrop = BACKDROP[background]
        if rng.random() < 0.5:
            where = {"in": rng.choice(backdrop.places)}
            return self._fill(wording.ZH_IN_PLACE, rng, s=subject, **where)
        return self._fill(wording.ZH_AT_SCENE, rng, s=subject, n=rng.choice(backdrop.zh))

    def _colour(self, name: str, rng: random.Random) -> str:
        colour = rng.choice(COLOUR[name].zh) + ("色" if rng.random() < 0.88 else "")
        return rng.choice(_ZH_PLAIN) + colour if rng.random() < 0.12 else colour

    def _place(self, scene: Scene, rng: random.Random) -> str:
        said = scene.position != "centre" or (len(scene.things) == 1 and rng.random() < 0.07)
        return rng.choice(POSITION[scene.position].zh) if said else ""

    def _two(self, scene: Scene, rng: random.Random) -> str:
        first, second = (self._counted(thing, "", rng) for thing in scene.things)
        frames = wording.ZH_ABOVE if scene.relation == "above" else wording.ZH_BESIDE
        return self._fill(frames, rng, a=first, b=second)

    def _subject(self, scene: Scene, rng: random.Random) -> str:
        size = ""
        if scene.size != "mid" or (scene.count == 1 and rng.random() < 0.03):
            size = rng.choice(SIZE[scene.size].zh)
        if scene.count == 1:
            return self._counted(scene.things[0], size, rng)
        measures = OBJECT[scene.things[0].object].measures
        number = rng.choice(_ZH_NUMERALS[scene.count])
        space = " " if number.isascii() and rng.random() < 0.2 else ""
        count = number + space + rng.choice((*measures, *measures, "个"))
        thing = size + self._thing(scene.things[0], rng, many=True)
        return self._fill(wording.ZH_COUNTED, rng, k=count, m=thing)

    def _counted(self, thing: Thing, size: str, rng: random.Random) -> str:
        """Return one thing, with `一` and a measure word or without."""
        text = size + self._thing(thing, rng)
        if text.startswith("一") or rng.random() < 0.4:
            return text
        measures = OBJECT[thing.object].measures
        return rng.choice(("一", "一", "一", "1")) + rng.choice((*measures, *measures, "个")) + text

    def _thing(
        self, thing: Thing, rng: random.Random, many: bool = False, plain: bool = False
    ) -> str:
        drawn = OBJECT[thing.object]
        # 一牙西瓜 has its number within.
        noun = rng.choice([word for word in drawn.zh if not (many and word.startswith("一"))])
        if thing.colour is not None:
            return self._coloured(noun, thing.colour, rng)
        kind = 1.0 if plain else rng.random()
        if isinstance(drawn, Emoji) and kind < 0.07:
            return self._coloured(noun, rng.choice(COLOURS).name, rng)
        if kind < 0.25:
            return junk.words(junk.ZH_NICE, rng, self.unseen) + noun
        if isinstance(drawn, Emoji) and kind < 0.29:
            return f"正在{rng.choice(junk.ZH_DOING.of(self.unseen))}的{noun}"
        return noun

    def _coloured(self, noun: str, name: str, rng: random.Random) -> str:
        colour = rng.choice(COLOUR[name].zh)
        shade = rng.choice(("浅", "深", "亮")) if rng.random() < 0.06 else ""
        return f"{shade}{colour}{rng.choice(('色的', '色的', '色', '色', '', '颜色的'))}{noun}"


def _a(words: str) -> str:
    """Return words with their indefinite article."""
    vowel = words[0].lower() in "aeiou" and not words.startswith(("uni", "ufo", "one"))
    return f"{'an' if vowel else 'a'} {words}"


def _bare(noun: str) -> str:
    """Return a noun without its article."""
    return re.sub(r"^(a|an|the) ", "", noun)


def _article(thing: str, rng: random.Random) -> str:
    """Return one thing with an article, or now and then without."""
    if thing.startswith(("a ", "an ")):
        return thing
    article = rng.choice(("a", "a", "a", "a", "a", "one", "the", "", "my"))
    return _a(thing) if article == "a" else f"{article} {thing}".strip()


def _disturbed(frame: str, rng: random.Random) -> str:
    """Return a frame with a word too many or one too few, as people write."""
    words = frame.split(" ")
    spare = [k for k, word in enumerate(words) if word in _SPARE]
    if spare and rng.random() < 0.5:
        del words[rng.choice(spare)]
    else:
        more = rng.choice(_FILLERS) if rng.random() < 0.6 else junk.nonsense(rng, "en")
        words.insert(rng.randint(0, len(words)), more)
    return " ".join(words)


def _disturbed_chinese(frame: str, rng: random.Random) -> str:
    """Return a frame with characters too many, never within a word of it."""
    pieces = re.findall(r"\{\w+\}|[^{}]+", frame)
    more = rng.choice(_ZH_FILLERS) if rng.random() < 0.6 else junk.nonsense(rng, "zh")
    pieces.insert(rng.randint(0, len(pieces)), more)
    return "".join(pieces)


_WRITERS: dict[tuple[str, bool], _Writer] = {
    **{("en", unseen): _English(unseen) for unseen in (False, True)},
    **{("zh", unseen): _Chinese(unseen) for unseen in (False, True)},
}
