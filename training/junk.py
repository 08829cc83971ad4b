"""Words that name nothing the model knows: style words, everyday sentences, unknown things.

Captions are surrounded by them, so that they do not disturb; of prompts that are nothing else the
model learns to draw a plain picture. tests/test_captions.py checks that no word of the vocabulary
is among them. All tables are split like the frames, see wording.py.
"""

import random

from training.wording import Frames, split


def words_of(text: str) -> Frames:
    """Return the words of a text, split by their hashes."""
    return split("\n".join(text.split()))


EN_STYLE = split("""
    4k
    8k
    hd
    ultra hd
    high quality
    best quality
    finest quality
    high resolution
    cartoon style
    comic style
    anime style
    pixel art
    flat design
    vector art
    line art
    clip art
    digital art
    concept art
    minimalist
    minimalism
    realistic
    photorealistic
    hyperrealistic
    highly detailed
    very detailed
    intricate details
    clean lines
    bold lines
    soft light
    soft lighting
    natural light
    studio lighting
    dramatic lighting
    warm tones
    pastel tones
    vivid
    colorful
    simple
    very simple
    trending on artstation
    sharp focus
    shallow depth of field
    bokeh
    masterpiece
    award winning
    beautiful
    elegant
    cozy
    dreamy
    magical
    vintage
    retro
    modern style
    cinematic
    watercolor
    watercolour style
    oil painting
    acrylic painting
    crayon style
    chalk style
    hand drawn
    sticker
    logo
    icon
    wallpaper
    poster
    postcard
    greeting card
    avatar
    no text
    no watermark
    no people
    for children
    for kids
    for my blog
    for a school project
    for a birthday party
    very pretty
    in good mood
    looking happy
    smiling happily
    smiling at us
    sitting quietly
    sleeping peacefully
    jumping around
    dancing with joy
    holding a violin
    wearing a scarf
    wearing glasses
    eating lunch
    professional photography
    studio photo
    macro shot
    close up
    wide angle
    isometric
    symmetrical
    front view
    full body
    thank you
    thanks a lot
    please
    as nice as possible
    make it look good
    nice and clear
    warm and friendly atmosphere
    peaceful mood
    unreal engine
    octane render
    ray tracing
    art by a famous painter
""")

ZH_STYLE = split("""
    高清
    超清
    超高清
    4K
    8K
    高质量
    最佳质量
    高分辨率
    卡通风格
    漫画风格
    动漫风格
    像素风
    扁平风格
    扁平化设计
    极简
    极简风格
    矢量图
    线稿
    数字艺术
    插画风格
    可爱风
    写实风格
    写实
    超写实
    细节丰富
    细节清晰
    线条清晰
    线条简单
    柔和的光线
    自然光
    摄影棚灯光
    电影感
    暖色调
    色彩鲜艳
    色彩柔和
    简洁
    简单
    干净
    水彩画
    油画
    水墨风格
    蜡画风格
    儿童画
    剪纸风格
    手绘风格
    杰作
    获奖作品
    专业摄影
    微距
    特写
    广角
    正面
    全身
    对称
    等距视角
    贴纸
    壁纸
    图标
    头像
    海报
    海报设计
    明信片
    贺卡
    非常好看
    很漂亮
    很精致
    唯美
    梦幻
    温馨
    温馨的气氛
    复古
    现代感
    现代风格
    童话风格
    没有文字
    没有水印
    没有人
    不要文字
    适合儿童
    给孩子看的
    做头像用
    学校作业用
    高兴地笑着
    笑得很甜
    看着镜头
    看着我们
    安静地坐着
    正在睡觉
    正在跳舞
    正在吃饭
    戴着眼镜
    围着围巾
    拉着小提琴
    谢谢
    谢谢你
    多谢
    拜托了
    尽量好看
    清楚一点
    越可爱越好
    大师作品
    虚幻引擎
    光线追踪
""")

EN_NICE = split("""
    cute
    very cute
    lovely
    funny
    beautiful
    happy
    nice
    adorable
    pretty
    sweet
    charming
    friendly
    cheerful
    sad
    sleepy
    silly
    shiny
    fancy
    fluffy
    wonderful
    realistic
    cartoon
    old
    young
    new
    strange
    magic
    simple
    clean
    cool
""")

ZH_NICE = split("""
    可爱的
    很可爱的
    漂亮的
    有趣的
    美丽的
    开心的
    快乐的
    好看的
    难过的
    帅气的
    奇怪的
    神奇的
    普通的
    干净的
    友好的
    调皮的
    安静的
    精致的
    新的
    旧的
    聪明的
    卡通
    写实的
    超可爱的
""")

EN_WHO = split("""
    my neighbour
    the old teacher
    our cousin
    a friend of mine
    the postman
    somebody
    everyone here
    the whole family
    my grandmother
    her uncle
    the baker
    a young doctor
    the new manager
    their landlord
    a quiet stranger
    the tall engineer
    the lady from the office
    our guide
    the children
    a few students
    the nurse
    that musician
    the waiter
    a famous writer
    his colleague
    the mayor
    the carpenter
    an actor
    the gardener
    nobody
    the committee
    our team
    the tailor
    a tired driver
    the singer
    my roommate
    the plumber
""")
EN_DID = split("""
    talked about the weather
    forgot to answer the letter
    was waiting for some good news
    asked many questions
    told a long story
    wanted to learn something new
    cleaned the kitchen
    cooked soup for dinner
    listened to slow music
    walked along the street
    opened the window
    closed the door very carefully
    wrote a short note
    paid the bill
    lost the ticket
    laughed about an old joke
    looked for a quiet corner
    changed the plan again
    repaired the broken chair
    bought some milk
    learned to dance
    played the piano
    sang a song
    fell asleep early
    talked to a friend
    had no idea what to say
    remembered the last holiday
    tried to solve the puzzle
    moved the table
    thought about the future
    said hello and smiled
    made a promise
    read the newspaper
    counted the coins
    went to work
    stayed for lunch
    explained the rules of the game
    took a deep breath
    signed the contract
    watched the rain
    finished the homework
    washed the dishes
""")
EN_WHEN = split("""
    yesterday
    last week
    in the morning
    after a long day
    before breakfast
    on Monday
    every summer
    a few years ago
    without any hurry
    as usual
    for several hours
    because it was raining
    while the others were sleeping
    although it was late
    with great care
    once again
    for no reason
    to everyone's surprise
    since nobody else did
    at the office
    during the meeting
    when the bell rang
    in spite of the noise
    just for fun
    at the end of the month
    until the door opened
    as soon as possible
    and was glad about it
    and nobody noticed
    with a smile
""")
EN_SENTENCES = split("""
    the weather was mild and a gentle wind came through the open window
    nothing special happened that day
    it is hard to say why, but everybody felt calm
    please keep the whole thing simple and friendly
    the mood should be cheerful and relaxed
    I have been thinking about this for a long time
    this will hang in the kitchen of my parents
    we will print it and put it into a frame
    the lines should be clean and the picture easy to understand
    my daughter has her birthday next week and she loves pictures like this
    it does not need to be perfect
    take your time and do it as well as you can
    there should be no text and no signature anywhere
    everything else may be as you like
    the light is soft and comes through a thin curtain
    you can hear music from far away
    people were talking quietly about their plans
    it reminds me of my childhood in a quiet village
    the air smells of rain and wet stone
    we had a long discussion about it at work
    the story begins on an ordinary morning
    in the end everything turned out well
    all details should be sharp and clear
    use thick lines and gentle shadows
    I tried this many times before but it never looked right
    the style may be modern or old fashioned, I do not mind
    make it look like a page from a magazine for kids
    the atmosphere is warm, peaceful and a little dreamy
    a soft breeze moves the curtains
    somewhere a door is closing
    the meeting was moved to Thursday
    prices went up again this year
    he promised to be on time, but he was late as always
    the recipe needs flour, sugar and a pinch of salt
    she speaks many languages and plays the violin
    the shop opens early and closes late
    most of the guests had already gone
    it was so quiet that you could hear the floor creak
    the report must be finished before the weekend
    we took the stairs because the elevator was broken
    they say that patience is a virtue
    I would be very grateful for your help
    there is no need to hurry
    the last chapter is the best one
    his answer was short but polite
    our trip took longer than expected
    the teacher said that practice makes perfect
    it looks best without any decoration
    nobody knows how this tradition began
    the curtains are closed and the room is silent
    let it be elegant, with lots of detail and texture
    the composition is balanced and nothing distracts the viewer
    professional work, rendered with great care
    it should make people smile when they look at it
    the result will be used as an avatar in a chat program
    a poem about hope was printed on the last page
    you know how much I like such pictures
    the price does not matter
    they were happy to be together again
    we drank tea and talked about old times
""")

ZH_WHO = split("""
    我的邻居
    老师
    我的表哥
    一位朋友
    邮递员
    有人
    大家
    全家人
    奶奶
    她的叔叔
    面点师傅
    年轻的医生
    新来的经理
    房东
    陌生人
    工程师
    办公室的女士
    导游
    孩子们
    几个学生
    护士
    那位音乐家
    服务员
    著名的作家
    他的同事
    市长
    木匠
    演员
    园丁
    没有人
    我们的团队
    裁缝
    疲倦的司机
    歌手
    室友
    妈妈
    爸爸
""")
ZH_DID = split("""
    在谈论天气
    忘了回信
    在等好消息
    问了很多问题
    讲了一个很长的故事
    想学点新东西
    打扫了厨房
    做了晚饭
    听着慢慢的音乐
    沿着街道散步
    打开了窗户
    轻轻地关上门
    写了一张便条
    付了账
    弄丢了票
    想起一个老笑话
    找了个安静的角落
    又改了计划
    修好了坏掉的椅子
    买了一些醋
    学会了跳舞
    弹了一会儿钢琴
    唱了一首歌
    早早就睡了
    和朋友聊天
    不知道该说什么
    回忆起上次的假期
    试着解开谜题
    搬动了桌子
    想着未来
    微笑着打招呼
    许下了诺言
    读了报纸
    数了数零钱
    去上班了
    留下来吃午饭
    解释了游戏规则
    深深地吸了一口气
    签了合同
    看着窗外的雨
    写完了作业
    洗了碗
""")
ZH_WHEN = split("""
    昨天
    上个星期
    早上
    忙了一天之后
    早饭前
    星期一
    每年夏天
    几年前
    不慌不忙地
    像往常一样
    连着好几个小时
    因为下雨
    趁别人睡觉的时候
    虽然已经很晚
    非常认真地
    又一次
    无缘无故地
    让所有人吃惊的是
    既然没人去做
    在办公室
    开会的时候
    铃声响起时
    尽管很吵
    只是为了好玩
    月底
    尽快
    后来
    没有人注意到时
    微笑着
    放学以后
""")
ZH_SENTENCES = split("""
    天气很温和，微风从窗外吹进来
    那天没有发生什么特别的事
    说不出为什么，大家都觉得平静
    请让整体保持简单亲切
    气氛应该轻松愉快
    这件事我想了很久
    这幅画会挂在父母的厨房里
    我们会把它打印出来装进相框
    线条要干净，内容要容易看懂
    女儿下周过生日，她最爱这样的图
    不需要十全十美
    慢慢来，尽力做到最好
    任何地方都不要有文字和签名
    其他的都随你
    光线透过薄薄的窗帘照进来
    远处传来音乐声
    人们轻声谈论着各自的打算
    这让我想起小时候的村子
    空气里有雨水和石头的味道
    我们在公司讨论了很长时间
    故事从一个平常的早晨开始
    最后一切都很顺利
    所有细节都要清晰锐利
    用粗线条和柔和的阴影
    以前试过很多次，总是不对
    风格可以现代也可以古典，我不介意
    做得像儿童杂志里的一页
    气氛温暖、宁静，带一点梦幻
    轻风吹动窗帘
    某处有一扇门关上了
    会议改到了星期四
    今年物价又涨了
    他答应准时，但还是迟到了
    这道菜需要面、糖和一点盐
    她会说好几种语言，还会拉小提琴
    商店很早开门，很晚关门
    大部分客人已经离开了
    安静得能听见地板的声音
    报告必须在周末之前完成
    电梯坏了，我们走楼梯上去
    人们常说耐得住等待是美德
    非常感谢你的帮助
    没有必要着急
    最后一章写得最好
    他的回答简短而有礼貌
    我们的旅行比预想的更久
    老师说熟能生巧
    不加装饰最好看
    没有人知道这个传统是怎么来的
    窗帘拉着，房间里很安静
    要优雅，有很多细节和质感
    构图平衡，没有东西分散注意
    专业作品，制作非常用功
    要让人看了就想笑
    结果会用来做聊天头像
    最后一页印着一首关于希望的诗
    你知道我有多喜欢这样的作品
    价钱不重要
    他们很高兴又能在一起
    我们喝着茶聊起从前
    这里的生活节奏很慢
    他每天都坚持锻炼身体
    工作虽然辛苦，但是值得
    谁也没有想到会这样
""")

EN_UNKNOWN = split("""
    zebra
    kangaroo
    hippo
    hippopotamus
    rhino
    rhinoceros
    camel
    llama
    alpaca
    goat
    deer
    moose
    squirrel
    hedgehog
    raccoon
    badger
    otter
    beaver
    seal
    walrus
    skunk
    sloth
    leopard
    cheetah
    gorilla
    hamster
    lizard
    snake
    crocodile
    spider
    ant
    beetle
    mosquito
    snail
    worm
    jellyfish
    lobster
    shrimp
    swan
    goose
    eagle
    peacock
    pigeon
    crow
    sparrow
    ostrich
    bat
    woman
    man
    girl
    boy
    child
    baby
    grandmother
    king
    queen
    princess
    knight
    wizard
    witch
    pirate
    doctor
    nurse
    policeman
    teacher
    soldier
    dancer
    singer
    couple
    crowd
    family
    astronaut
    clown
    angel
    mermaid
    vampire
    violin
    piano
    drum
    trumpet
    flute
    table
    chair
    sofa
    bed
    desk
    shelf
    mirror
    curtain
    carpet
    door
    window
    bridge
    tower
    church
    temple
    windmill
    factory
    road
    street
    tunnel
    fence
    statue
    fountain
    tractor
    scooter
    skateboard
    submarine
    canoe
    tank
    elevator
    spoon
    fork
    knife
    plate
    bottle
    kettle
    pan
    basket
    bucket
    broom
    hammer
    saw
    ladder
    rope
    needle
    scissors
    candle
    lantern
    ring
    necklace
    watch
    shoe
    boots
    sock
    shirt
    dress
    coat
    jeans
    glove
    scarf
    tie
    backpack
    suitcase
    wallet
    envelope
    newspaper
    map
    flag
    medal
    sword
    shield
    bow
    kite
    doll
    puzzle
    dice
    chess board
    tennis racket
    bowling pin
    microscope
    telescope
    magnet
    battery
    printer
    keyboard
    headphones
    microphone
    radio
    potato
    onion
    garlic
    cucumber
    pepper
    broccoli
    cabbage
    corn
    pumpernickel
    rice
    sandwich
    taco
    sushi
    salad
    soup
    sausage
    pancake
    waffle
    cookie
    chocolate
    honey jar
    milk
    tea
    juice
    wine
    kiwi
    pear
    plum
    coconut drink
    avocado
    daisy
    lily
    orchid
    fern
    bamboo
    volcano
    waterfall
    river
    lake
    island
    cave
    canyon
    storm
    tornado
    planet
    comet
    galaxy
    rain
    fog
    freedom
    democracy
    happiness
    sadness
    love
    hope
    silence
    justice
    music
    mathematics
    philosophy
    infinity
    chaos
    peace
    friendship
    time
    success
    science
    history
    running
    swimming
    dreaming
    thinking
    a hexagon
    a pentagon
    a spiral
    an arrow
    a cube
    a pyramid
    a zigzag
    random pattern
    a question mark
    hello
    good morning
    hello world
    how are you
    surprise me
    anything
    something nice
    whatever you like
    a masterpiece
    test
    asdf
    what is the meaning of life
    tell me a joke
    abstract art
    portrait of a lady
    a wedding
    office meeting
    breakfast
    a recipe
    a kitchen
    a bathroom
    a bedroom
    a classroom
    a library
    a museum
    a hospital
    a supermarket
    a restaurant
""")

ZH_UNKNOWN = split("""
    袋鼠
    犀鸟
    骆驼
    羚
    鹿
    松鼠
    刺猬
    水獭
    海豹
    臭鼬
    豹子
    猩猩
    仓鼠
    蜥蜴
    蛇
    鳄
    蜘蛛
    蚂蚁
    甲壳类
    蚊子
    蜗居
    蚯蚓
    水母
    虾
    天鹅
    鹅
    老鹰
    孔雀
    鸽子
    乌鸦
    麻雀
    鸵鸟
    蝙蝠
    女人
    男人
    女孩
    男孩
    孩子
    婴儿
    老奶奶
    国王
    女王
    公主
    骑士
    巫师
    女巫
    海盗
    医生
    护士
    警察
    老师
    士兵
    舞蹈演员
    歌手
    情侣
    人群
    一家人
    宇航员
    小丑
    天使
    仙女
    小提琴
    钢琴
    鼓
    小号
    笛子
    桌子
    椅子
    沙发
    床
    架子
    镜子
    窗帘
    地毯
    门
    窗户
    桥
    塔
    教堂
    寺庙
    风力发电
    工厂
    道路
    街道
    隧道
    栅栏
    雕塑
    喷泉
    拖拉机
    滑板
    潜艇
    坦克
    电梯
    勺子
    叉子
    刀
    盘子
    瓶子
    水壶
    锅
    篮子
    水桶
    扫帚
    锤子
    锯子
    梯子
    绳子
    针
    剪刀
    蜡烛
    灯笼
    戒指
    项链
    手表
    鞋
    靴子
    袜子
    衬衫
    裙子
    外套
    手套
    围巾
    领带
    背包
    行李箱
    钱包
    信封
    报纸
    地图
    旗子
    奖牌
    剑
    盾牌
    弓箭
    风筝
    娃娃
    拼图
    骰子
    棋盘
    球拍
    显微镜
    望远镜
    磁铁
    电池
    打印机
    键盘
    耳机
    麦克风
    收音机
    土豆
    洋葱
    大蒜
    辣椒
    玉米
    米饭
    寿司
    沙拉
    香肠
    煎饼
    饼干
    巧克力
    蜂蜜罐
    茶
    果汁
    酒
    梨
    李子
    竹子
    兰草
    瀑布
    河流
    湖
    岛
    山洞
    峡谷
    暴风雨
    行星
    彗星
    银河
    雨
    雾
    自由
    民主
    幸福
    悲伤
    爱情
    希望
    沉默
    正义
    音乐
    数学
    哲学
    无限
    混乱
    和平
    友谊
    时间
    成功
    科学
    历史
    跑步
    游泳
    做梦
    思考
    螺旋
    箭头
    立方体
    问号
    你好
    早上好
    你好世界
    你好吗
    给我一个惊喜
    随便
    什么都行
    好看的东西
    随便画
    测试
    生命的意义
    讲个笑话
    女士肖像
    婚礼
    比赛
    办公室会议
    早餐
    菜谱
    厨房
    浴室
    卧室
    教室
    博物馆
    医院
    超市
    餐厅
""")

EN_DOING = split("""
    playing the piano
    dancing
    sleeping
    running fast
    jumping
    reading a letter
    drinking tea
    singing loudly
    looking out of the window
    cooking dinner
    thinking hard
    in a kitchen
    in an office
    with a friend
    with a violin
    with long hair
    made of glass
    made of wood
    from the past
    of the future
    at work
    on a chair
    on a table
    on the street
""")
ZH_DOING = split("""
    弹钢琴
    跳舞
    睡觉
    跑步
    跳跃
    读信
    喝茶
    大声唱歌
    看窗外
    做晚饭
    思考
    工作
    聊天
    坐在椅子上
    走在街上
    玩耍
""")

EN_COMMON = words_of("""
    able about accept accident account across act action active actual add address admit adult
    advice affair afford afraid after again age agency ago agree ahead aim air alive allow
    almost along already although always amount anger angry animal answer anxious appear apply
    area argue arm army around arrange arrive article ask attack attempt attend attention aunt
    author average avoid award aware away awful back bad bag balance band bank base basic
    battle bean beard beat become before begin behave belief bell belong belt benefit best
    better between beyond bill bird birth bit bite bitter blame blank blind block blood blow
    board body boil bone border bored borrow boss both bother bottle brain branch brave break
    breath brick brief bring broad brother brush build burn business busy butter button buy
    cabin call calm camp cancel cap capital card care career careful careless carry case cash
    cast catch cause ceiling cell century certain chain chance change chapter charge cheap
    check cheek chemical chest chicken chief choice choose circus citizen civil claim class
    clean clear clerk clever climate climb close cloth clothes club coal coast collar collect
    college comb combine come comfort common company compare complain complete concern concert
    condition confident confirm connect consider contact contain content contest continue
    control cook copper copy corner correct cost cotton cough council count country county
    couple courage course court cousin cover crash crazy create credit crime crisp critic
    cross crowd cruel cry culture cure curious current custom cut cycle daily damage damp
    danger dare dark data date dead deaf deal dear death debate debt decade decide deep defeat
    defend degree delay deliver demand dental depend depth describe design desire detail
    develop device diary die diet differ difficult dinner direct dirt discover disease dish
    dismiss distance divide divorce doubt dozen draft drag drama dream drink drive drop dry
    due dull during dust duty each eager ear early earn ease east easy eat edge edit educate
    effect effort either elect element else empty enemy energy enjoy enough enter entire entry
    envy equal error escape essay estate even event ever every evidence exact exam example
    excellent except excite excuse exist expect expense expert explain express extra extreme
    eye fabric fact fail fair faith fall false fame family far farm fashion fast fat fate
    father favour fear feather feature fee feed feel fellow female festival fever few fight
    figure file fill film final find fine finger finish firm fit fix flat float flood floor
    flour flow fly focus fold folk follow food fool foot force foreign forget forgive form
    formal fortune forward found frame free freeze fridge friend fright fuel full fun fund
    funny fur future gain game garage garden gas gate gather general gentle give glad glass
    glue goal good goodbye govern grade grain grand grant gravity greet grief grip ground
    group grow guard guess guest guide guilty guy habit hair half hall hammer hand handle hang
    happen harbour hard hardly harm hate heal health hear heat heavy heel height help hero
    hesitate hide high hire history hit hobby hold hole holiday hollow honest honour hope
    horrible host hotel hour household human humble hunger hurry hurt husband idea ideal
    ignore ill image imagine immediate important impress improve inch include income increase
    indeed indoor industry inform ink inner insect inside insist inspect install instead
    insult intend interest invent invite iron issue item jacket jail jam jealous job join joke
    journal journey joy judge juice jump junior jury keep kick kid kidney kill kind kiss kit
    kitchen knee kneel knock knot know label labour lack land language last late laugh law lay
    lazy lead league leak lean learn leather leave lecture leg legal lend length lesson letter
    level liberty library licence lid lie life lift limit line link lip liquid list listen
    literature live load loan local lock log lonely long look loose lord lose loss loud lovely
    luck lunch lung machine mad magazine mail main major make male manage manner many march
    mark market marry mask mass master match mate matter maximum maybe meal mean measure meat
    mechanic media medicine meet melt member memory mend mental mention menu merchant merry
    mess message metal method mild mile mind mine minister minor minute miss mist mix mobile
    model moment money month mood moral mostly mother motion motive mouth move movie mud
    muscle myth nail name narrow nation native nature navy neat neck need negative neighbour
    nephew nerve nest net network neutral never news nice niece noble noise none noon normal
    north nose note notice novel number nurse nut obey object observe obvious occasion odd
    offend offer office often oil once onion opera opinion oppose option oral order ordinary
    organ origin other ought outside oven owe own owner pack page pain paint palace pale panel
    panic paper parade parcel pardon parent park partner pass passage passenger past path
    patient pattern pause pay peace peak peasant peculiar penny people perfect perform perhaps
    period permit person petrol phrase pick picnic pile pilot pillow pin pint pipe pity place
    plain plan plant plastic plate play pleasant please plenty plug pocket poem poet point
    poison police policy polite political pool poor popular population port position possible
    post pot pound pour powder power practice praise pray prefer prepare press pretend pretty
    prevent previous price pride priest print prison private prize problem process produce
    product profit program progress promise prompt proper property protect proud prove provide
    public pull pump punish pupil pure purpose push puzzle quality quantity quarrel quarter
    question queue quick quiet quit quite race rail rain raise range rank rare rate rather raw
    reach react ready real reason receive recent recipe recognise record recover reduce refer
    refuse regard regret regular relax release relief religion rely remain remark remember
    remind remove rent repair repeat reply report request rescue research resist respect
    respond rest result retire return reveal reward rhythm rich ride rise risk rival roar rob
    rock role roll roof room root rope rough routine row rub rubbish rude rug ruin rule run
    rush sack sad safe salary sale salt same sample satisfy sauce save say scale scared
    schedule score scratch scream seat second secret secure see seed seek seem seldom select
    sell send sense separate series serious set settle several severe sew shade shake shallow
    shame share shave sheet shelf shell shelter shine shirt shock shoot shop shore short
    shoulder shout show shower shut shy sick sigh sight sign silent silk silly similar since
    sing sink sister sit situation skill skin skirt sleep slide slight slip slope slow smart
    smell smile smoke smooth snap sneeze social society soil solid solve some sore sorry sort
    soul sound sour south space speak special speech speed spell spend spill spin spirit split
    spoil sport spot spray spread spring spy stable staff stage stain stair stamp stand
    standard stare start state station stay steady steal steel steep step stick stiff still
    stir stomach store story strange strategy straw stream strength stress stretch strict
    strike string strip strong struggle study stuff stupid style subject success sudden suffer
    sugar suggest suit sum summer supper supply support sure surface surprise surround survey
    survive suspect swallow swear sweat sweep sweet swell swim swing switch sympathy system
    tail take talent talk tame tap target task taste tax taxi teach team tear tease technical
    teenager temper tend tense term terrible test thank theatre theory thick thief thin thing
    think thirst thread threat throat through throw thumb thus ticket tidy tie tight timber
    time tin tip tired title today together toilet tomorrow tone tongue tonight tool tooth
    total touch tough tour towel town toy track trade tradition traffic transfer trap travel
    tray treat trial trick trip trouble trousers trust truth try tube tune turn twice twist
    type typical ugly uncle understand union unique unit universe university unless until
    upset urban urge urgent use usual vacation valley value van vanish variety various vast
    verb verse very victim victory view village violent visit visitor voice volume vote voyage
    wage wait wake walk wander want war warm warn wash waste watch wave way weak wealth weapon
    wear weather wedding week weigh welcome west wet wheat wheel whisper whistle whole wide
    widow wife wild will win wind wine wing winner wipe wire wise wish witness wonder wood
    wool word work world worry worth wound wrap wreck write wrong yard year yell yesterday yet
    yield young youth zero zone
""")
"""Words that are strung together without a sense: no caption is to hang on known sentences."""

ZH_COMMON = words_of("""
    了 是 有 我 这 个 们 来 为 和 国 到 以 说 要 就 出 会 可 也 能 而 那 得 于 着 年 过 发 后
    作 用 道 所 然 家 种 事 成 经 么 去 法 学 如 同 现 当 没 动 起 看 定 天 分 还 进 好 部 其
    些 主 样 理 开 但 因 只 从 想 者 意 无 力 它 与 把 十 民 第 此 已 工 使 性 知 全 又 关 点
    业 将 由 问 很 最 重 并 手 应 战 文 体 政 美 见 被 利 什 等 产 或 新 己 制 身 加 斯 合 回
    特 代 内 信 化 给 世 位 次 度 门 任 常 先 教 通 儿 东 声 立 及 员 解 名 真 论 处 走 义 各
    入 几 口 认 平 系 题 活 尔 更 别 打 女 变 神 总 何 数 安 少 报 才 结 反 受 目 量 再 感 建
    务 做 接 必 场 件 管 期 德 资 命 指 克 许 统 区 保 至 队 社 便 决 治 展 科 基 非 则 完 却
    站 广 吏 究 越 快 怎 近 食 速 语 告 组 远 强 百 每 运 住 失 服 且 价 路 造 亲 离 办 议 界
    试 根 转 志 张 济 效 准 读 调 步 跟 拿 刀 字 流 取 改 死 易 导 深 育 规 求 息 故 望 参 备
    坚 请 研 争 称 医 院 苦 谁 整 影 响 容 简 希 欢 迎 努 帮 助 练 习 愿 继 续 终 突 尤 乎 仍
    甚 虽 否 即 除 既 首 例 按 据 随 况 程 标 技 术 验 识 兴 趣 惯 格 态 觉 划 责 压 挑 遇 危
    险 健 康 疾 病 药 护 锻 炼 饮 睡 眠 休 娱 乐 旅 游 购 费 质 顾 商 领 励 惩 罚 律 权 传 俗
    节 貌 言 诗 歌 戏 剧 舞 蹈 绘 画 雕 刻 筑 设 农 税 收 财 预 投 股 票 贸 汇 率 不 之 五 交
    人 他 企 公 军 前 单 南 原 古 司 向 品 器 图 在 地 外 多 太 头 奖 子 实 客 对 市 带 形 情
    提 方 日 时 明 月 本 机 条 果 正 比 毛 气 水 海 消 热 照 爱 物 生 电 的 直 相 礼 空 算 老
    自 落 行 表 西 视 计 话 足 邮 都 里 银 长 间 面 高 大 小 楼 梯 石 雨 听 词 句 纸 桌 椅 窗
    墙 灯 杯 碗 衣 鞋 脸 眼 耳 嘴 雷 湖 岛 沟 谷 谢 错 忙 慢 哭 喊 吃 喝 坐 躺 跳 唱 买 卖 找
    送 拉 推 抬 放 丢 捡 修 补 洗 擦 扫 拆 装 挂 贴 写 印 剪 折
""")


_EN_LITTLE = (
    "the", "a", "of", "to", "and", "in", "is", "that", "it", "was", "for", "with", "as", "his",
    "her", "they", "we", "you", "my", "our", "this", "but", "not", "or", "have", "had", "from",
    "were", "what", "all", "when", "can", "so", "if", "no", "will", "about", "there", "than",
)  # fmt: skip


def words(table: Frames, rng: random.Random, unseen: bool) -> str:
    """Return one entry of a table, from its training side or from the other."""
    return rng.choice(table.of(unseen))


def sentence(rng: random.Random, language: str, unseen: bool) -> str:
    """Return an everyday sentence, without its full stop; for training also words at random."""
    if not unseen and rng.random() < 0.5:
        return _words_at_random(rng, language)
    chinese = language == "zh"
    if rng.random() < 0.5:
        return words(ZH_SENTENCES if chinese else EN_SENTENCES, rng, unseen)
    who, did, when = (
        words(table, rng, unseen)
        for table in ((ZH_WHO, ZH_DID, ZH_WHEN) if chinese else (EN_WHO, EN_DID, EN_WHEN))
    )
    if chinese:
        return rng.choice((f"{when}{who}{did}", f"{when}，{who}{did}", f"{who}{when}{did}"))
    return f"{when} {who} {did}" if rng.random() < 0.3 else f"{who} {did} {when}"


def _words_at_random(rng: random.Random, language: str) -> str:
    """Return words without a sense, some of them no words at all."""
    table = ZH_COMMON.seen if language == "zh" else EN_COMMON.seen
    text = [rng.choice(table) for _ in range(rng.randint(3, 14))]
    if language == "zh":
        return "".join(nonsense(rng, "zh") if rng.random() < 0.08 else word for word in text)
    for k, word in enumerate(text):
        kind = rng.random()
        if kind < 0.25:
            text[k] = rng.choice(_EN_LITTLE)
        elif kind < 0.45:
            text[k] = _blend(word, rng.choice(table))
        elif kind < 0.6:
            text[k] = word + rng.choice(("s", "ed", "ing", "ly", "er", "ness"))
        elif kind < 0.65:
            text[k] = nonsense(rng, "en")
    return " ".join(text)


def _blend(one: str, other: str) -> str:
    """Return a word from the beginning of one and the end of another."""
    return one[: (len(one) + 1) // 2] + other[len(other) // 2 :]


def unknown(rng: random.Random, language: str, unseen: bool) -> str:
    """Return something that the model cannot draw."""
    if rng.random() < 0.12:
        return nonsense(rng, language)
    chinese = language == "zh"
    if not unseen and rng.random() < 0.25:
        return _words_at_random(rng, language)
    thing = words(ZH_UNKNOWN if chinese else EN_UNKNOWN, rng, unseen)
    if rng.random() < 0.2:
        doing = words(ZH_DOING if chinese else EN_DOING, rng, unseen)
        return (
            rng.choice((f"{thing}{doing}", f"正在{doing}的{thing}"))
            if chinese
            else (f"{thing} {doing}")
        )
    return thing


def nonsense(rng: random.Random, language: str) -> str:
    """Return a word that means nothing, so that unknown words do not disturb."""
    if language == "zh" and rng.random() < 0.7:
        return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(rng.randint(1, 3)))
    syllables = (rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") for _ in range(3))
    return "".join(syllables) + rng.choice(("", "n", "r", "s", "t", "ing", "ed"))
