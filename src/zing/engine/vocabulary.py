"""Which words of a prompt a checkpoint knows, by the vocabulary in its manifest. No torch.

It reads words, not meaning: what is on the list counts as understood, whatever is said with it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zing.engine.zimage.config import Group

_HAN = "\u3400-\u9fff"
# What words are made of: a Chinese character, or a run of other letters and digits.
_UNIT = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
# Units that one word may reach over: nothing but spaces, hyphens and apostrophes between them.
_CLAUSE = re.compile(r"[\w\s'’‐‑-]+")
# 16:9 and 1.5 hold no number of things.
_FIGURES = re.compile(r"\d+(?:[:：.,/xX×*]\d+)+")

# Kinds of words that say something of a thing and nothing without one. The two kinds after them
# stand for themselves, and every other kind is of things.
_OF_A_THING = frozenset({"positions", "sizes"})
_COUNTS, _RELATIONS = "counts", "relations"
_NO_THINGS = _OF_A_THING | {_COUNTS, _RELATIONS, "colours", "backgrounds"}

# A Chinese count stands before one of these, 一只 and 三朵; in 一样 and 三角 it counts nothing.
_MEASURES = frozenset(
    "个只条头匹颗粒根串块片碗支枝杯瓶盘盏棵株朵束轮团道辆列架枚艘座间栋幢顶把本台部份张尾"
)
_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万几第")

# Words that are none of the words inside them: 抽象 (abstract) is no elephant.
_OTHERS = """
    抽象 印象 形象 现象 景象 对象 气象 象棋 象征 开心 小心 中心 关心 伤心 内心 用心 心情 心里
    马上 马路 马桶 马拉松 河马 斑马 海马 罗马 蜗牛 牛奶 牛肉 牛仔 羊肉 羊毛 猪肉 鱼雷 壁虎 马虎
    龙虾 龙卷风 火龙果 火山 火腿 火锅 火鸡 烟花 花园 花生 花纹 花费 棉花 棉花糖 西兰花
    核桃 猕猴桃 树莓 橘子 橙子 橙汁 面粉 粉丝 金属 现金 金融 青春 青年 明白 白天 白菜 书法 书包
    书架 书桌 笔记 云南 降落伞 圆满 热狗
    hot dog|hot dogs|sea lion|sea lions|guinea pig|guinea pigs|star wars|sea horse
"""


@dataclass(frozen=True)
class _Hit:
    """Units of a clause, from the one at `first` to before the one at `last`, that make a word."""

    first: int
    last: int
    kinds: frozenset[str]

    @property
    def is_thing(self) -> bool:
        return not self.kinds <= _NO_THINGS


@dataclass(frozen=True)
class _Clause:
    """A stretch of a prompt, its units with their places in it, and the words found there."""

    text: str
    units: Sequence[str]
    spans: Sequence[tuple[int, int]]
    hits: Sequence[_Hit]

    @property
    def things(self) -> int:
        return sum(hit.is_thing for hit in self.hits)

    def written(self, hit: _Hit) -> str:
        """The word as it is written, on one line."""
        start, end = self.spans[hit.first][0], self.spans[hit.last - 1][1]
        return " ".join(self.text[start:end].split())

    def counts(self, hit: _Hit) -> bool:
        """Whether a count counts one of the things here."""
        if not self.things:
            return False
        if not re.match(f"[{_HAN}]", self.units[hit.first]):
            return True
        before = self.units[hit.first - 1] if hit.first else ""
        after = self.units[hit.last] if hit.last < len(self.units) else ""
        return after in _MEASURES and before not in _NUMERALS


class Vocabulary:
    """The words of a checkpoint, ready to be found."""

    def __init__(self, groups: Iterable[Group]) -> None:
        kinds: dict[tuple[str, ...], set[str]] = {}
        for group in groups:
            for concept in group.concepts:
                for word in (*concept.en, *concept.zh):
                    kinds.setdefault(_units(word), set()).add(group.name)
        for other in _others():
            kinds.setdefault(_units(other), set())
        self._kinds = {phrase: frozenset(of) for phrase, of in kinds.items()}
        self._lengths = sorted({len(phrase) for phrase in self._kinds} - {0}, reverse=True)

    def understood(self, prompt: str) -> tuple[str, ...]:
        """The words in a prompt that the checkpoint knows, as written, each once, in their order.

        English words are whole ones of any case, plurals where they are listed. Of words that
        overlap the longest counts, and of equally long ones the last: 小鸡蛋 is an egg, 鸡蛋, and
        no chick, 小鸡. Counts, places and sizes are told only with a thing, relations with two.
        """
        clauses = [self._read(text) for text in _CLAUSE.findall(_FIGURES.sub(",", prompt))]
        things = sum(clause.things for clause in clauses)
        words = [
            clause.written(hit)
            for clause in clauses
            for hit in clause.hits
            if any(_is_told(kind, clause, hit, things) for kind in hit.kinds)
        ]
        first: dict[str, str] = {}
        for word in words:
            first.setdefault(word.casefold(), word)
        return tuple(first.values())

    def _read(self, text: str) -> _Clause:
        found = list(_UNIT.finditer(text))
        units = [each[0].casefold() for each in found]
        return _Clause(text, units, [each.span() for each in found], self._hits(units))

    def _hits(self, units: Sequence[str]) -> list[_Hit]:
        """The words in these units, the longest first and then in their order, none overlapping."""
        taken = [False] * len(units)
        hits = []
        for length in self._lengths:
            for first in range(len(units) - length, -1, -1):
                last = first + length
                kinds = self._kinds.get(tuple(units[first:last]))
                if kinds is not None and not any(taken[first:last]):
                    taken[first:last] = [True] * length
                    hits.append(_Hit(first, last, kinds))
        return sorted(hits, key=lambda hit: hit.first)


def told(understood: Sequence[str] | None, model: str) -> str:
    """What a person is told of the words that a model understood; empty where it has no list."""
    if understood is None:
        return ""
    if not understood:
        return f"the prompt has no word that {model} knows; `zing models show {model}` lists them"
    return f"understood: {', '.join(understood)}"


def _is_told(kind: str, clause: _Clause, hit: _Hit, things: int) -> bool:
    if kind == _COUNTS:
        return clause.counts(hit)
    if kind == _RELATIONS:
        return things > 1
    return things > 0 or kind not in _OF_A_THING


def _units(text: str) -> tuple[str, ...]:
    return tuple(unit.casefold() for unit in _UNIT.findall(text))


def _others() -> Iterator[str]:
    *chinese, english = _OTHERS.strip().splitlines()
    yield from " ".join(chinese).split()
    yield from english.strip().split("|")
