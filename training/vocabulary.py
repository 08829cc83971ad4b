"""What the built-in model knows: things, shapes, colours, backgrounds, and their words.

The words are our own writing. These tables are the only place that counts concepts: captions,
probes, the judge and the checkpoint's manifest are all made from them. No people, by intention.
"""

from dataclasses import dataclass
from itertools import chain

Rgb = tuple[int, int, int]

COUNTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Concept:
    """Something that a caption can name: at least two words in each language."""

    name: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True)
class Colour(Concept):
    """A colour of shapes and of backgrounds; the Chinese words stand without the final 色."""

    rgb: Rgb


@dataclass(frozen=True)
class Noun(Concept):
    """A thing that can be counted; `measures` are the Chinese measure words that fit it."""

    measures: tuple[str, ...]


@dataclass(frozen=True)
class Shape(Noun):
    """A plain figure; `colour` is drawn where the caption says none."""

    colour: str


@dataclass(frozen=True)
class Emoji(Noun):
    """A picture of the emoji font."""

    glyph: str


@dataclass(frozen=True)
class Backdrop(Concept):
    """A landscape; `en` says where something is, `zh` what is there.

    nouns   what is there in English, with the article that it has
    places  where something is in Chinese
    """

    nouns: tuple[str, ...]
    places: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def _emoji(name: str, glyph: str, en: str, zh: str, measures: str) -> Emoji:
    return Emoji(name, _words(en), _words(zh), _words(measures), glyph)


def _backdrop(name: str, en: str, nouns: str, zh: str, places: str) -> Backdrop:
    return Backdrop(name, _words(en), _words(zh), _words(nouns), _words(places))


COLOURS = (
    Colour("red", ("red", "scarlet", "crimson"), ("红", "大红", "鲜红"), (224, 32, 36)),
    Colour("orange", ("orange", "bright orange"), ("橙", "橘"), (250, 140, 20)),
    Colour("yellow", ("yellow", "golden", "gold"), ("黄", "金", "金黄"), (252, 218, 32)),
    Colour("green", ("green", "grass green"), ("绿", "草绿"), (34, 160, 62)),
    Colour("cyan", ("cyan", "turquoise", "teal", "aqua"), ("青", "蓝绿"), (28, 196, 204)),
    Colour("blue", ("blue", "royal blue"), ("蓝", "宝蓝"), (34, 84, 224)),
    Colour("purple", ("purple", "violet"), ("紫", "紫罗兰"), (134, 52, 190)),
    Colour("pink", ("pink", "rose pink"), ("粉", "粉红"), (250, 150, 190)),
    Colour("brown", ("brown", "chestnut brown"), ("棕", "褐", "咖啡"), (130, 78, 40)),
    Colour("black", ("black", "jet black"), ("黑", "纯黑"), (22, 22, 24)),
    Colour("gray", ("gray", "grey"), ("灰", "银灰"), (138, 140, 144)),
    Colour("white", ("white", "snow white"), ("白", "纯白"), (250, 250, 250)),
)

SHAPES = (
    Shape("circle", _words("circle|disc|round shape"), _words("圆形|圆|圆圈"), ("个",), "red"),
    Shape("square", _words("square|square shape"), _words("正方形|方形|方块"), ("个",), "blue"),
    Shape("triangle", _words("triangle|triangle shape"), _words("三角形|三角"), ("个",), "green"),
    Shape(
        "star", _words("star|five-pointed star"), _words("星星|五角星|星形"), ("颗", "个"), "yellow"
    ),
    Shape("heart", _words("heart|heart shape"), _words("心形|爱心|心"), ("颗", "个"), "red"),
    Shape(
        "diamond",
        _words("diamond|rhombus|diamond shape"),
        _words("菱形|菱形块"),
        ("个",),
        "purple",
    ),
)

ANIMALS = (
    _emoji("cat", "🐱", "cat|kitty|kitten", "猫|猫咪|小猫", "只"),
    _emoji("dog", "🐶", "dog|puppy|doggy", "狗|小狗|狗狗", "只|条"),
    _emoji("panda", "🐼", "panda|panda bear|giant panda", "熊猫|大熊猫", "只"),
    _emoji("fox", "🦊", "fox|fox cub|red fox", "狐狸|小狐狸", "只"),
    _emoji("frog", "🐸", "frog|toad|froggy", "青蛙|蛙|小青蛙", "只"),
    _emoji("lion", "🦁", "lion|lion cub", "狮子|雄狮", "头|只"),
    _emoji("tiger", "🐯", "tiger|tiger cub", "老虎|虎|小老虎", "只"),
    _emoji("pig", "🐷", "pig|piggy|piglet", "猪|小猪", "头|只"),
    _emoji("rabbit", "🐰", "rabbit|bunny", "兔子|小兔子|兔", "只"),
    _emoji("bear", "🐻", "bear|grizzly|brown bear", "熊|棕熊|狗熊", "头|只"),
    _emoji("koala", "🐨", "koala|koala bear", "考拉|树袋熊", "只"),
    _emoji("cow", "🐮", "cow|calf", "牛|奶牛|母牛", "头"),
    _emoji("mouse", "🐭", "mouse|little mouse", "老鼠|小老鼠|耗子", "只"),
    _emoji("monkey", "🐵", "monkey|little monkey", "猴子|猴|小猴子", "只"),
    _emoji("horse", "🐴", "horse|pony", "马|小马|骏马", "匹"),
    _emoji("unicorn", "🦄", "unicorn|magical unicorn", "独角兽|小独角兽", "只|匹"),
    _emoji("wolf", "🐺", "wolf|gray wolf", "狼|灰狼|大灰狼", "只|匹"),
    _emoji("elephant", "🐘", "elephant|baby elephant", "大象|象|小象", "头"),
    _emoji("giraffe", "🦒", "giraffe|tall giraffe", "长颈鹿|小长颈鹿", "只"),
    _emoji("sheep", "🐑", "sheep|lamb", "绵羊|羊|小羊", "只"),
    _emoji("chick", "🐥", "chick|baby chick", "小鸡|雏鸡", "只"),
    _emoji("penguin", "🐧", "penguin|baby penguin", "企鹅|小企鹅", "只"),
    _emoji("owl", "🦉", "owl|night owl", "猫头鹰|小猫头鹰", "只"),
    _emoji("duck", "🦆", "duck|mallard", "鸭子|鸭|野鸭", "只"),
    _emoji("parrot", "🦜", "parrot|macaw", "鹦鹉|金刚鹦鹉", "只"),
    _emoji("flamingo", "🦩", "flamingo|tall flamingo", "火烈鸟|红鹳", "只"),
    _emoji("fish", "🐠", "fish|tropical fish", "鱼|热带鱼|小鱼", "条"),
    _emoji("whale", "🐳", "whale|spouting whale", "鲸鱼|鲸", "头|条"),
    _emoji("dolphin", "🐬", "dolphin|leaping dolphin", "海豚|小海豚", "条|只"),
    _emoji("shark", "🦈", "shark|great shark", "鲨鱼|大鲨鱼", "条"),
    _emoji("octopus", "🐙", "octopus|squid", "章鱼|八爪鱼", "只"),
    _emoji("crab", "🦀", "crab|little crab", "螃蟹|蟹", "只"),
    _emoji("turtle", "🐢", "turtle|tortoise", "乌龟|龟|海龟", "只"),
    _emoji("butterfly", "🦋", "butterfly|butterfly with open wings", "蝴蝶|花蝴蝶", "只"),
    _emoji("bee", "🐝", "bee|honeybee|bumblebee", "蜜蜂|小蜜蜂", "只"),
    _emoji("ladybug", "🐞", "ladybug|ladybird", "瓢虫|七星瓢虫", "只"),
    _emoji("dinosaur", "🦕", "dinosaur|brontosaurus", "恐龙|小恐龙", "只"),
    _emoji("dragon", "🐲", "dragon|dragon head", "龙|巨龙", "条|只"),
)

FOOD = (
    _emoji("apple", "🍎", "apple|apple fruit", "苹果|苹果果实", "个|颗"),
    _emoji("banana", "🍌", "banana|ripe banana", "香蕉|蕉", "根|个"),
    _emoji("strawberry", "🍓", "strawberry|strawberry fruit", "草莓|草莓果", "颗|个"),
    _emoji("cherry", "🍒", "cherry|pair of cherries", "樱桃|车厘子", "颗|个"),
    _emoji("grapes", "🍇", "bunch of grapes|grape cluster|grapes", "葡萄|提子", "串"),
    _emoji("watermelon", "🍉", "watermelon|watermelon slice", "西瓜|一牙西瓜", "块|个"),
    _emoji("lemon", "🍋", "lemon|lemon fruit", "柠檬|柠檬果", "个|颗"),
    _emoji("peach", "🍑", "peach|nectarine", "桃子|水蜜桃|桃", "个"),
    _emoji("pineapple", "🍍", "pineapple|ananas", "菠萝|凤梨", "个"),
    _emoji("tomato", "🍅", "tomato|ripe tomato", "西红柿|番茄", "个"),
    _emoji("carrot", "🥕", "carrot|fresh carrot", "胡萝卜|红萝卜", "根"),
    _emoji("mushroom", "🍄", "mushroom|toadstool", "蘑菇|菌菇", "朵|个"),
    _emoji("bread", "🍞", "loaf of bread|slice of bread|toast", "面包|吐司", "片|个"),
    _emoji("cheese", "🧀", "piece of cheese|cheese wedge|cheese", "奶酪|芝士", "块"),
    _emoji("egg", "🍳", "fried egg|egg", "煎蛋|荷包蛋|鸡蛋", "个"),
    _emoji("burger", "🍔", "hamburger|burger|cheeseburger", "汉堡|汉堡包", "个"),
    _emoji("pizza", "🍕", "pizza|pizza slice|slice of pizza", "披萨|比萨|披萨饼", "块|个"),
    _emoji("noodles", "🍜", "bowl of noodles|noodle soup|noodles|ramen", "面条|拉面|汤面", "碗"),
    _emoji("dumpling", "🥟", "dumpling|jiaozi|gyoza", "饺子|水饺", "个|只"),
    _emoji("ice_cream", "🍦", "ice cream|ice cream cone|soft serve", "冰淇淋|冰激凌|雪糕", "个|支"),
    _emoji("donut", "🍩", "donut|doughnut", "甜甜圈|多纳圈", "个"),
    _emoji("cake", "🎂", "cake|birthday cake", "蛋糕|生日蛋糕", "个|块"),
    _emoji("coffee", "☕", "cup of coffee|coffee|mug of coffee", "咖啡杯|一杯咖啡|热咖啡", "杯"),
)

PLANTS_AND_SKY = (
    _emoji("tree", "🌳", "tree|leafy tree", "树|大树|树木", "棵"),
    _emoji("pine", "🌲", "pine tree|fir tree|pine", "松树|杉树", "棵"),
    _emoji("palm", "🌴", "palm tree|coconut tree|palm", "棕榈树|椰子树|椰树", "棵"),
    _emoji("cactus", "🌵", "cactus|desert cactus", "仙人掌|仙人柱", "棵"),
    _emoji("rose", "🌹", "rose|rose flower", "玫瑰|玫瑰花", "朵|支"),
    _emoji("tulip", "🌷", "tulip|tulip flower", "郁金香|郁金香花", "朵|支"),
    _emoji("sunflower", "🌻", "sunflower|sunflower blossom", "向日葵|太阳花", "朵"),
    _emoji("blossom", "🌸", "cherry blossom|sakura|flower", "樱花|花朵|花", "朵"),
    _emoji("maple_leaf", "🍁", "maple leaf|autumn leaf", "枫叶|红叶", "片"),
    _emoji("sun", "☀️", "sun|shining sun", "太阳|红日", "个|轮"),
    _emoji("moon", "🌙", "crescent moon|moon|crescent", "月亮|弯月|月牙", "个|轮"),
    _emoji("cloud", "☁️", "cloud|fluffy cloud", "云朵|云|白云", "朵|片"),
    _emoji("rainbow", "🌈", "rainbow|rainbow arc", "彩虹|虹", "道|条"),
    _emoji("snowman", "⛄", "snowman|snow man with a hat", "雪人|小雪人", "个"),
    _emoji("snowflake", "❄️", "snowflake|ice crystal", "雪花|冰晶", "片|朵"),
    _emoji("lightning", "⚡", "lightning bolt|lightning|thunderbolt", "闪电|雷电", "道"),
    _emoji("fire", "🔥", "fire|flame", "火焰|火|火苗", "团"),
    _emoji("earth", "🌍", "globe|planet earth|earth", "地球|地球仪", "个|颗"),
)

VEHICLES_AND_BUILDINGS = (
    _emoji("car", "🚗", "car|automobile", "汽车|小汽车|轿车|车", "辆"),
    _emoji("bus", "🚌", "bus|school bus|coach", "公交车|巴士|大巴", "辆"),
    _emoji("truck", "🚚", "truck|lorry|delivery truck", "卡车|货车", "辆"),
    _emoji("fire_truck", "🚒", "fire truck|fire engine", "消防车|救火车", "辆"),
    _emoji("bicycle", "🚲", "bicycle|bike", "自行车|单车|脚踏车", "辆"),
    _emoji("motorcycle", "🏍️", "motorcycle|motorbike", "摩托车|机车", "辆"),
    _emoji("train", "🚂", "train|steam train|locomotive", "火车|蒸汽火车|列车", "列|辆"),
    _emoji("airplane", "✈️", "airplane|plane|aeroplane", "飞机|客机", "架"),
    _emoji("helicopter", "🚁", "helicopter|chopper", "直升机|直升飞机", "架"),
    _emoji("rocket", "🚀", "rocket|spaceship", "火箭|宇宙飞船", "枚|艘"),
    _emoji("ufo", "🛸", "ufo|flying saucer", "飞碟|不明飞行物", "个|艘"),
    _emoji("sailboat", "⛵", "sailboat|sailing boat|boat", "帆船|小船|船", "艘|条"),
    _emoji("ship", "🚢", "ship|cruise ship|ocean liner", "轮船|大轮船|邮轮", "艘"),
    _emoji("house", "🏠", "house|home|cottage", "房子|屋子|小屋", "座|间"),
    _emoji("castle", "🏰", "castle|fairytale castle", "城堡|古堡", "座"),
    _emoji("tent", "⛺", "tent|camping tent", "帐篷|露营帐篷", "顶|个"),
)

OBJECTS_OF_USE = (
    _emoji("football", "⚽", "football|soccer ball", "足球|皮球", "个"),
    _emoji("basketball", "🏀", "basketball|orange basketball", "篮球|橙色篮球", "个"),
    _emoji("guitar", "🎸", "guitar|electric guitar", "吉他|电吉他", "把"),
    _emoji("book", "📕", "book|closed book", "书|书本|图书", "本"),
    _emoji("pencil", "✏️", "pencil|sharp pencil", "铅笔|笔", "支"),
    _emoji("camera", "📷", "camera|photo camera", "照相机|相机", "台|个"),
    _emoji("phone", "☎️", "telephone|phone|old phone", "电话|电话机|座机", "部|台"),
    _emoji("laptop", "💻", "laptop|computer|notebook computer", "笔记本电脑|电脑|计算机", "台"),
    _emoji("television", "📺", "television|tv|old tv", "电视机|电视", "台"),
    _emoji("alarm_clock", "⏰", "alarm clock|clock", "闹钟|时钟|钟", "个"),
    _emoji("light_bulb", "💡", "light bulb|lamp", "灯泡|电灯", "个|盏"),
    _emoji("key", "🔑", "key|old key", "钥匙|金钥匙", "把"),
    _emoji("gift", "🎁", "gift|present|gift box", "礼物|礼盒|礼品", "份|个"),
    _emoji("balloon", "🎈", "balloon|party balloon", "气球|派对气球", "个|只"),
    _emoji("crown", "👑", "crown|royal crown", "王冠|皇冠", "顶"),
    _emoji("top_hat", "🎩", "top hat|hat|magician hat", "礼帽|帽子|高帽", "顶"),
    _emoji("umbrella", "☂️", "umbrella|open umbrella", "雨伞|伞", "把"),
    _emoji("trophy", "🏆", "trophy|golden cup", "奖杯|冠军杯", "座|个"),
    _emoji("gem", "💎", "gem|jewel|gemstone", "宝石|钻石", "颗"),
    _emoji("teddy_bear", "🧸", "teddy bear|teddy|plush bear", "泰迪熊|玩具熊|毛绒熊", "只|个"),
    _emoji("robot", "🤖", "robot|android|robot head", "机器人|机械人", "个|台"),
    _emoji("smiley", "😀", "smiley|smiling face|happy face", "笑脸|微笑的脸", "个|张"),
    _emoji("love_face", "😍", "face with heart eyes|face in love", "爱心眼表情|花痴脸", "个|张"),
    _emoji("cool_face", "😎", "face with sunglasses|cool face", "墨镜脸|戴墨镜的笑脸", "个|张"),
    _emoji("crying_face", "😭", "crying face|sobbing face", "哭脸|大哭的脸", "个|张"),
    _emoji("ghost", "👻", "ghost|spooky ghost", "幽灵|鬼魂", "个|只"),
    _emoji("alien", "👽", "alien|extraterrestrial", "外星人|外星生物", "个"),
    _emoji("pumpkin", "🎃", "pumpkin|jack-o'-lantern", "南瓜|南瓜灯", "个"),
)

BACKDROPS = (
    _backdrop(
        "meadow",
        "in a meadow|on the grass|in a green field|on a lawn",
        "a meadow|grass|a grassy field|a lawn",
        "草地|草坪|草原",
        "在草地上|在草坪上|在草原上|草地里",
    ),
    _backdrop(
        "sea",
        "on the sea|on the ocean|at sea|in the ocean",
        "the sea|the ocean|sea water",
        "大海|海面|海洋",
        "在大海上|在海面上|在海洋上|在大海里",
    ),
    _backdrop(
        "beach",
        "on the beach|on a sandy beach|at the seaside",
        "a beach|a sandy beach|the seaside",
        "沙滩|海滩|海边",
        "在沙滩上|在海滩上|在海边",
    ),
    _backdrop(
        "desert",
        "in the desert|among sand dunes|on desert sand",
        "a desert|sand dunes|desert sand",
        "沙漠|沙丘",
        "在沙漠里|在沙漠中|在沙丘上",
    ),
    _backdrop(
        "snow",
        "in the snow|on a snowy field|in a winter landscape",
        "snow|a snowy field|a winter landscape",
        "雪地|雪景|雪原",
        "在雪地里|在雪地上|在雪景中|在雪原上",
    ),
    _backdrop(
        "night",
        "at night|under the night sky|under the stars|under a starry sky",
        "the night|the night sky|a starry sky",
        "夜晚|夜空|星空",
        "在夜晚|在夜空下|在星空下",
    ),
    _backdrop(
        "sunset",
        "at sunset|in the evening glow|at dusk|under a sunset sky",
        "a sunset|the evening glow|dusk|a sunset sky",
        "日落|夕阳|黄昏|晚霞",
        "在日落时|在夕阳下|在黄昏|在黄昏时|在晚霞中",
    ),
    _backdrop(
        "mountains",
        "in the mountains|in front of mountains|among the hills",
        "mountains|the hills|a mountain landscape",
        "群山|山间|高山",
        "在群山前|在群山之间|在山间|在高山前",
    ),
    _backdrop(
        "forest",
        "in the forest|in the woods|in a forest",
        "a forest|the woods|the forest",
        "森林|树林",
        "在森林里|在森林中|在树林里",
    ),
    _backdrop(
        "city",
        "in the city|in front of a skyline|in a big city",
        "a city|a skyline|a big city",
        "城市|都市|高楼",
        "在城市里|在都市里|在都市中|在高楼前",
    ),
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

NUMBERS = (
    Concept("1", ("one", "a single", "1"), ("一", "1")),
    Concept("2", ("two", "a pair of", "2"), ("两", "二", "2")),
    Concept("3", ("three", "3"), ("三", "3")),
    Concept("4", ("four", "4"), ("四", "4")),
)
"""How many; the Chinese words stand before a measure word."""

RELATIONS = (
    Concept("beside", ("next to", "beside", "by"), ("旁边", "旁", "身边")),
    Concept("above", ("above", "over"), ("上面", "上方")),
)
"""Where the first of two things stands: left of the second, or over it."""

_IRREGULAR = {
    "mouse": "mice", "little mouse": "little mice", "wolf": "wolves", "gray wolf": "gray wolves",
    "sheep": "sheep", "calf": "calves", "fish": "fish", "tropical fish": "tropical fish",
    "lightning": "lightning bolts", "toast": "toasts",
    "dragon head": "dragon heads", "maple leaf": "maple leaves", "autumn leaf": "autumn leaves",
    "snow man with a hat": "snow men with hats", "snowman": "snowmen",
    "cheese": "cheeses", "coffee": "coffees",
    "octopus": "octopuses", "cactus": "cactuses",
    "desert cactus": "desert cacti", "rhombus": "rhombuses", "flamingo": "flamingos",
    "grapes": "grapes", "noodles": "noodles",
    "tall flamingo": "tall flamingos", "ramen": "ramen",
    "loaf of bread": "loaves of bread", "butterfly with open wings": "butterflies with open wings",
    "face in love": "faces in love",
}  # fmt: skip

EMOJI = (*ANIMALS, *FOOD, *PLANTS_AND_SKY, *VEHICLES_AND_BUILDINGS, *OBJECTS_OF_USE)
OBJECTS: tuple[Shape | Emoji, ...] = (*SHAPES, *EMOJI)
BACKGROUNDS: tuple[Concept, ...] = (*COLOURS, *BACKDROPS)
COLOUR = {colour.name: colour for colour in COLOURS}
BACKDROP = {backdrop.name: backdrop for backdrop in BACKDROPS}
OBJECT = {thing.name: thing for thing in OBJECTS}
POSITION = {position.name: position for position in POSITIONS}
SIZE = {size.name: size for size in SIZES}
NUMBER = {int(number.name): number for number in NUMBERS}
RELATION = {relation.name: relation for relation in RELATIONS}


def plural(words: str) -> str:
    """Return the English plural of a thing's words: `cup of coffee` makes `cups of coffee`."""
    if words in _IRREGULAR:
        return _IRREGULAR[words]
    for joint in (" of ", " with "):
        head, found, rest = words.partition(joint)
        if found:
            return _plural_of_word(head) + found + rest
    return _plural_of_word(words)


def _plural_of_word(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "ch", "sh", "tomato", "mango")):
        return word + "es"
    return word + "s"


def listed() -> dict[str, list[dict[str, object]]]:
    """Return the vocabulary as plain data, for the checkpoint's manifest.

    Things have their English plurals too, colours of Chinese text their final 色.
    """
    groups: dict[str, tuple[Concept, ...]] = {
        "things": EMOJI,
        "shapes": SHAPES,
        "colours": COLOURS,
        "backgrounds": BACKDROPS,
        "counts": NUMBERS,
        "positions": POSITIONS,
        "sizes": SIZES,
        "relations": RELATIONS,
    }
    return {
        group: [
            {"name": concept.name, "en": list(_english(concept)), "zh": list(_chinese(concept))}
            for concept in concepts
        ]
        for group, concepts in groups.items()
    }


def _english(concept: Concept) -> tuple[str, ...]:
    if isinstance(concept, Backdrop):
        return concept.en + concept.nouns
    if not isinstance(concept, Noun):
        return concept.en
    return tuple(dict.fromkeys(chain(concept.en, map(plural, concept.en))))


def _chinese(concept: Concept) -> tuple[str, ...]:
    if isinstance(concept, Backdrop):
        return concept.zh + concept.places
    if not isinstance(concept, Colour):
        return concept.zh
    return tuple(f"{word}色" for word in concept.zh) + concept.zh
