"""Captions: what a scene is, said in English or Chinese, in everyday frames.

A caption says all that is not default: the object, a shape's colour when `colour_said`, the
background when named, a place other than the middle, a size other than mid.
"""

import random
from collections.abc import Callable

from training.scenes import Scene
from training.vocabulary import COLOUR, COLOURS, OBJECT, POSITION, SIZE, Emoji

LANGUAGES = ("en", "zh")

_EN_PREFIXES = (
    "a picture of", "an image of", "a photo of", "a drawing of", "an illustration of", "draw",
    "please draw", "generate", "generate an image of", "create a picture of", "paint", "show me",
    "make", "i want", "a render of", "an icon of", "a painting of", "there is",
)  # fmt: skip
_ZH_PREFIXES = (
    "画", "请画", "生成", "请生成", "画出", "一张图片，", "图片：", "一幅画：", "帮我画", "给我画",
    "绘制", "我想要", "有", "创建", "一张照片，", "插画，", "显示", "来",
)  # fmt: skip
_EN_JUNK = (
    "4k", "8k", "high quality", "cartoon style", "flat design", "vector art", "minimalist",
    "digital art", "highly detailed", "clean lines", "soft light", "studio lighting", "simple",
    "trending on artstation", "sharp focus", "best quality", "masterpiece", "beautiful", "poster",
    "smiling happily", "looking at the camera", "cinematic", "watercolor", "oil painting",
    "photorealistic", "no text", "for children", "modern style", "very pretty", "in good mood",
    "professional photography", "bokeh", "hand drawn", "sticker", "logo", "wallpaper", "hd",
    "sitting quietly", "thank you", "as nice as possible", "warm and friendly atmosphere",
)  # fmt: skip
_ZH_JUNK = (
    "高清", "卡通风格", "扁平风格", "极简", "高质量", "细节丰富", "柔和的光线", "数字艺术", "简洁",
    "矢量图", "插画风格", "可爱风", "写实风格", "电影感", "水彩画", "油画", "儿童画", "最佳质量",
    "杰作", "专业摄影", "手绘风格", "贴纸", "壁纸", "开心地笑着", "看着镜头", "没有文字", "谢谢",
    "非常好看", "现代感", "温馨的气氛", "海报设计", "线条清晰", "超清", "唯美", "安静地坐着",
)  # fmt: skip
_EN_BACKDROPS = ("background", "background", "background", "backdrop", "background colour", "bg")
_EN_CUTE = ("cute", "lovely", "funny", "beautiful", "happy", "nice", "adorable", "pretty")
_ZH_CUTE = ("可爱的", "漂亮的", "有趣的", "美丽的", "开心的", "好看的")
_EN_PLAIN = ("plain", "solid", "simple", "uniform", "flat", "bright", "clean")
_ZH_PLAIN = ("纯", "简单的", "干净的", "单一的", "明亮的")


def caption(scene: Scene, rng: random.Random, language: str) -> str:
    """Return one caption of a scene."""
    words = _WRITERS[language]
    if _is_bare(scene) and rng.random() < 0.65:
        text = words.bare(scene, rng)
    else:
        text = words.sentence(scene, rng)
    return _finish(text, rng, language)


def lengthen(text: str, rng: random.Random, language: str, fits: Callable[[str], bool]) -> str:
    """Return `text` among junk phrases, as many as it takes until `fits` holds."""
    while not fits(text):
        text = _with_junk(text, rng, language)
    return text


def _is_bare(scene: Scene) -> bool:
    return scene.background is None and scene.position == "centre" and scene.size == "mid"


def _finish(text: str, rng: random.Random, language: str) -> str:
    if rng.random() < 0.3:
        text = _with_junk(text, rng, language)
    if rng.random() < 0.1:
        text = _with_junk(text, rng, language)
    if language == "zh":
        return text + "。" if rng.random() < 0.25 else text
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    elif rng.random() < 0.04:
        text = text.upper()
    return text + "." if rng.random() < 0.2 else text


def _with_junk(text: str, rng: random.Random, language: str) -> str:
    junk = rng.choice(_ZH_JUNK if language == "zh" else _EN_JUNK)
    if rng.random() < 0.15:
        junk = _nonsense(rng, language)
    comma = ("，" if rng.random() < 0.8 else ",") if language == "zh" else ", "
    return junk + comma + text if rng.random() < 0.3 else text + comma + junk


def _nonsense(rng: random.Random, language: str) -> str:
    """Return a word that means nothing, so that unknown words do not disturb."""
    if language == "zh":
        return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(rng.randint(1, 3)))
    syllables = (rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(3))
    return "".join(syllables) + rng.choice(("", "n", "r", "s", "t", "ing", "ed"))


class _English:
    """The frames of English captions."""

    def bare(self, scene: Scene, rng: random.Random) -> str:
        return rng.choice(("", "", "a ", "a ", "one ", "the ")) + self._thing(scene, rng)

    def sentence(self, scene: Scene, rng: random.Random) -> str:
        subject, place = self._subject(scene, rng), self._place(scene, rng)
        prefix = rng.choice(_EN_PREFIXES) + " " if rng.random() < 0.4 else ""
        if scene.background is None:
            return prefix + " ".join(filter(None, (subject, place)))
        colour = rng.choice(COLOUR[scene.background].en)
        if rng.random() < 0.25:
            return self._background_first(colour, subject, place, rng)
        behind = self._behind(colour, rng)
        parts = [place, behind] if rng.random() < 0.5 else [behind, place]
        return prefix + "".join([subject, *(_spaced(part) for part in parts if part)])

    def _subject(self, scene: Scene, rng: random.Random) -> str:
        thing = self._thing(scene, rng)
        if scene.size != "mid" or rng.random() < 0.02:
            thing = f"{rng.choice(SIZE[scene.size].en)} {thing}"
        article = rng.choice(("a", "a", "a", "a", "one", "the", ""))
        if article == "a":
            article = "an" if thing[0] in "aeiou" else "a"
        return f"{article} {thing}".strip()

    def _thing(self, scene: Scene, rng: random.Random) -> str:
        thing = OBJECT[scene.object]
        noun = rng.choice(thing.en)
        if isinstance(thing, Emoji):
            kind = rng.random()
            if kind < 0.06:
                return f"{rng.choice(rng.choice(COLOURS).en)} {noun}"
            return f"{rng.choice(_EN_CUTE)} {noun}" if kind < 0.3 else noun
        if not scene.colour_said or scene.colour is None:
            return noun
        return self._coloured(noun, rng.choice(COLOUR[scene.colour].en), rng)

    def _coloured(self, noun: str, colour: str, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.72:
            return f"{colour} {noun}"
        if kind < 0.8:
            return f"{rng.choice(_EN_PLAIN)} {colour} {noun}"
        if kind < 0.85:
            return f"{colour}{rng.choice((' colored', ' coloured', '-colored'))} {noun}"
        if kind < 0.93:
            return f"{noun} in {colour}"
        return f"{noun} that is {colour}"

    def _place(self, scene: Scene, rng: random.Random) -> str:
        if scene.position == "centre" and rng.random() > 0.2:
            return ""
        place = rng.choice(POSITION[scene.position].en)
        if place != "centered" and rng.random() < 0.15:
            place += rng.choice((" of the picture", " of the image"))
        return place

    def _behind(self, colour: str, rng: random.Random) -> str:
        backdrop = rng.choice(_EN_BACKDROPS)
        if rng.random() < 0.2:
            colour = f"{rng.choice(_EN_PLAIN)} {colour}"
        a = "an" if colour[0] in "aeiou" else "a"
        frames = (
            f"on {a} {colour} {backdrop}", f"on {a} {colour} {backdrop}",
            f"on {a} {colour} {backdrop}", f"against {a} {colour} {backdrop}",
            f"in front of {a} {colour} {backdrop}", f"with {a} {colour} {backdrop}",
            f"over {a} {colour} {backdrop}", f", {colour} {backdrop}", f", {colour} {backdrop}",
            f", {backdrop} is {colour}", f", the background is {colour}", f"on {colour}",
            f", background: {colour}", f"on {a} {colour} canvas", f"against {colour}",
        )  # fmt: skip
        return rng.choice(frames)

    def _background_first(self, colour: str, subject: str, place: str, rng: random.Random) -> str:
        a = "an" if colour[0] in "aeiou" else "a"
        subject = " ".join(filter(None, (subject, place)))
        frames = (
            f"on {a} {colour} background, {subject}", f"{colour} background, {subject}",
            f"{a} {colour} background with {subject}", f"against {a} {colour} backdrop, {subject}",
            f"on {a} {colour} background there is {subject}", f"{colour} background and {subject}",
        )  # fmt: skip
        return rng.choice(frames)


class _Chinese:
    """The frames of Chinese captions."""

    def bare(self, scene: Scene, rng: random.Random) -> str:
        thing = OBJECT[scene.object]
        count = rng.choice(("", "", f"一{rng.choice(thing.measures)}", "一个"))
        return count + self._thing(scene, rng)

    def sentence(self, scene: Scene, rng: random.Random) -> str:
        subject, place = self._subject(scene, rng), self._place(scene, rng)
        prefix = rng.choice(_ZH_PREFIXES) if rng.random() < 0.35 else ""
        if scene.background is None:
            return prefix + self._placed(subject, place, rng)
        return prefix + self._on_background(scene.background, subject, place, rng)

    def _subject(self, scene: Scene, rng: random.Random) -> str:
        thing = OBJECT[scene.object]
        count = rng.choice(("", f"一{rng.choice(thing.measures)}", "一个"))
        size = ""
        if scene.size != "mid" or rng.random() < 0.02:
            size = rng.choice(SIZE[scene.size].zh)
        return count + size + self._thing(scene, rng)

    def _thing(self, scene: Scene, rng: random.Random) -> str:
        thing = OBJECT[scene.object]
        noun = rng.choice(thing.zh)
        if isinstance(thing, Emoji):
            kind = rng.random()
            if kind < 0.06:
                return f"{rng.choice(rng.choice(COLOURS).zh)}色的{noun}"
            return f"{rng.choice(_ZH_CUTE)}{noun}" if kind < 0.35 else noun
        if not scene.colour_said or scene.colour is None:
            return noun
        colour = rng.choice(COLOUR[scene.colour].zh)
        return f"{colour}{rng.choice(('色的', '色的', '色', '色', ''))}{noun}"

    def _place(self, scene: Scene, rng: random.Random) -> str:
        if scene.position == "centre" and rng.random() > 0.2:
            return ""
        place = rng.choice(POSITION[scene.position].zh)
        return rng.choice(("", "画面", "图片")) + place

    def _placed(self, subject: str, place: str, rng: random.Random) -> str:
        if not place:
            return subject
        frames = (
            f"{place}有{subject}", f"{subject}在{place}", f"{subject}，位于{place}",
            f"{subject}，在{place}", f"{place}的{subject}", f"在{place}，{subject}",
        )  # fmt: skip
        return rng.choice(frames)

    def _on_background(self, name: str, subject: str, place: str, rng: random.Random) -> str:
        colour = rng.choice(COLOUR[name].zh) + rng.choice(("色", "色", "色", "色", "色", ""))
        if rng.random() < 0.15:
            colour = rng.choice(_ZH_PLAIN) + colour
        placed = self._placed(subject, place, rng)
        frames = (
            f"{placed}，{colour}背景", f"{placed}，{colour}背景", f"{placed}，{colour}的背景",
            f"{placed}，背景是{colour}", f"{placed}，背景为{colour}", f"{placed}，背景{colour}",
            f"{colour}背景，{placed}", f"{colour}的背景，{placed}", f"{colour}背景上的{placed}",
            f"在{colour}背景上，{placed}", f"{colour}背景上有{placed}", f"{placed}，{colour}底",
            f"{colour}背景下的{placed}", f"{placed}，以{colour}为背景", f"{placed}在{colour}背景上",
            f"在{colour}的背景上画{placed}", f"{colour}背景中的{placed}", f"{colour}底，{placed}",
        )  # fmt: skip
        return rng.choice(frames)


def _spaced(part: str) -> str:
    return part if part.startswith(",") else " " + part


_WRITERS: dict[str, _English | _Chinese] = {"en": _English(), "zh": _Chinese()}
