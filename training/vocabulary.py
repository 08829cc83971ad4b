"""The concepts that the built-in model knows, with their words in English and Chinese.

The words are our own writing. A later version extends these tables; nothing else counts concepts.
"""

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Concept:
    """A thing that a caption can name: at least two words in each language."""

    name: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True)
class Colour(Concept):
    """A colour of shapes and of backgrounds; the Chinese words stand without the final 色."""

    rgb: Rgb


@dataclass(frozen=True)
class Shape(Concept):
    """A plain figure; `colour` is drawn where the caption says none."""

    measures: tuple[str, ...]
    colour: str


@dataclass(frozen=True)
class Emoji(Concept):
    """A picture of the emoji font; `measures` are the Chinese measure words that fit it."""

    measures: tuple[str, ...]
    glyph: str


COLOURS = (
    Colour("red", ("red", "scarlet", "crimson"), ("红", "大红", "鲜红"), (224, 32, 36)),
    Colour("orange", ("orange", "tangerine"), ("橙", "橘"), (250, 140, 20)),
    Colour("yellow", ("yellow", "golden", "gold"), ("黄", "金", "金黄"), (252, 218, 32)),
    Colour("green", ("green", "grass green"), ("绿", "草绿"), (34, 160, 62)),
    Colour("cyan", ("cyan", "turquoise", "teal", "aqua"), ("青", "蓝绿"), (28, 196, 204)),
    Colour("blue", ("blue", "royal blue"), ("蓝", "宝蓝"), (34, 84, 224)),
    Colour("purple", ("purple", "violet"), ("紫", "紫罗兰"), (134, 52, 190)),
    Colour("pink", ("pink", "rose pink"), ("粉", "粉红"), (250, 150, 190)),
    Colour("brown", ("brown", "chocolate brown"), ("棕", "褐", "咖啡"), (130, 78, 40)),
    Colour("black", ("black", "jet black"), ("黑", "纯黑"), (22, 22, 24)),
    Colour("gray", ("gray", "grey"), ("灰", "银灰"), (138, 140, 144)),
    Colour("white", ("white", "snow white"), ("白", "纯白"), (250, 250, 250)),
)

SHAPES = (
    Shape("circle", ("circle", "disc", "ball"), ("圆形", "圆", "圆圈", "圆球"), ("个",), "red"),
    Shape("square", ("square", "square shape"), ("正方形", "方形", "方块"), ("个",), "blue"),
    Shape("triangle", ("triangle", "triangle shape"), ("三角形", "三角"), ("个",), "green"),
    Shape(
        "star", ("star", "five-pointed star"), ("星星", "五角星", "星形"), ("颗", "个"), "yellow"
    ),
    Shape("heart", ("heart", "heart shape"), ("心形", "爱心", "心"), ("颗", "个"), "red"),
    Shape(
        "diamond", ("diamond", "rhombus", "diamond shape"), ("菱形", "菱形块"), ("个",), "purple"
    ),
)

EMOJI = (
    Emoji("cat", ("cat", "kitty", "kitten"), ("猫", "猫咪", "小猫"), ("只",), "🐱"),
    Emoji("dog", ("dog", "puppy", "doggy"), ("狗", "小狗", "狗狗"), ("只", "条"), "🐶"),
    Emoji("panda", ("panda", "panda bear"), ("熊猫", "大熊猫"), ("只",), "🐼"),
    Emoji("fox", ("fox", "fox cub"), ("狐狸", "小狐狸"), ("只",), "🦊"),
    Emoji("frog", ("frog", "toad"), ("青蛙", "蛙", "小青蛙"), ("只",), "🐸"),
    Emoji("lion", ("lion", "lion cub"), ("狮子", "雄狮"), ("头", "只"), "🦁"),
    Emoji("pig", ("pig", "piggy", "piglet"), ("猪", "小猪"), ("头", "只"), "🐷"),
    Emoji("rabbit", ("rabbit", "bunny"), ("兔子", "小兔子", "兔"), ("只",), "🐰"),
    Emoji("bear", ("bear", "grizzly", "bear cub"), ("熊", "小熊", "狗熊"), ("头", "只"), "🐻"),
    Emoji("penguin", ("penguin", "baby penguin"), ("企鹅", "小企鹅"), ("只",), "🐧"),
    Emoji("whale", ("whale", "spouting whale"), ("鲸鱼", "鲸"), ("头", "条"), "🐳"),
    Emoji("house", ("house", "home", "cottage"), ("房子", "屋子", "小屋"), ("座", "间"), "🏠"),
    Emoji("car", ("car", "automobile"), ("汽车", "小汽车", "轿车", "车"), ("辆",), "🚗"),
    Emoji("rocket", ("rocket", "spaceship"), ("火箭", "飞船"), ("枚", "艘"), "🚀"),
    Emoji("sailboat", ("sailboat", "sailing boat", "boat"), ("帆船", "小船", "船"), ("艘",), "⛵"),
    Emoji("apple", ("apple", "apple fruit"), ("苹果", "苹果果实"), ("个", "颗"), "🍎"),
    Emoji("strawberry", ("strawberry", "strawberry fruit"), ("草莓", "草莓果"), ("颗", "个"), "🍓"),
    Emoji("sunflower", ("sunflower", "sunflower blossom"), ("向日葵", "太阳花"), ("朵",), "🌻"),
    Emoji("balloon", ("balloon", "party balloon"), ("气球", "派对气球"), ("个", "只"), "🎈"),
    Emoji("gift", ("gift", "present", "gift box"), ("礼物", "礼盒", "礼品"), ("份", "个"), "🎁"),
    Emoji("robot", ("robot", "android", "robot head"), ("机器人", "机械人"), ("个", "台"), "🤖"),
    Emoji("pizza", ("pizza", "pizza slice"), ("披萨", "比萨", "披萨饼"), ("块", "个"), "🍕"),
    Emoji("mushroom", ("mushroom", "toadstool"), ("蘑菇", "菌菇"), ("朵", "个"), "🍄"),
    Emoji("tree", ("tree", "leafy tree"), ("树", "大树", "树木"), ("棵",), "🌳"),
)

POSITIONS = (
    Concept(
        "centre",
        ("in the middle", "in the center", "in the centre", "centered"),
        ("中间", "中央", "正中"),
    ),
    Concept("left", ("on the left", "on the left side", "at the left"), ("左边", "左侧", "左方")),
    Concept(
        "right", ("on the right", "on the right side", "at the right"), ("右边", "右侧", "右方")
    ),
    Concept("top", ("at the top", "near the top", "in the upper part"), ("上方", "顶部", "上面")),
    Concept(
        "bottom",
        ("at the bottom", "near the bottom", "in the lower part"),
        ("下方", "底部", "下面"),
    ),
)

SIZES = (
    Concept("small", ("small", "tiny", "mini"), ("很小的", "小小的", "迷你的", "小号的")),
    Concept("mid", ("medium", "medium-sized"), ("中等大小的", "中号的")),
    Concept("big", ("big", "large", "huge"), ("很大的", "大大的", "巨大的", "大号的")),
)

OBJECTS: tuple[Shape | Emoji, ...] = (*SHAPES, *EMOJI)
COLOUR = {colour.name: colour for colour in COLOURS}
OBJECT = {thing.name: thing for thing in OBJECTS}
POSITION = {position.name: position for position in POSITIONS}
SIZE = {size.name: size for size in SIZES}


def listed() -> dict[str, list[dict[str, object]]]:
    """Return the vocabulary as plain data, for the checkpoint's manifest."""
    groups = {"objects": OBJECTS, "colours": COLOURS, "positions": POSITIONS, "sizes": SIZES}
    return {
        group: [{"name": c.name, "en": list(c.en), "zh": list(c.zh)} for c in concepts]
        for group, concepts in groups.items()
    }
