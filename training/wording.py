"""The frames of captions: how people put a subject, its place and its background into words.

Every table is split once for all by a hash of its frames: some are for training, the others only
for measuring how well the model follows wording that it never saw.

Slots: {x} all that is to be seen, {s} a subject, {a} and {b} the first and the second of two,
{p} a position, {c} a colour ({ac} with its English article), {g} a word like `background`,
{in} where, {n} what is there ({an} with its article), {u} something unknown, {m} what is counted,
{k} how many.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

UNSEEN_SHARE = 0.15
"""Share of the frames that training never shows; decided before anything was trained."""


@dataclass(frozen=True)
class Frames:
    """Wordings of one kind: those of training, and those that it never shows."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]

    def of(self, unseen: bool) -> tuple[str, ...]:
        """Return one side of the split."""
        return self.unseen if unseen else self.seen


def is_unseen(frame: str) -> bool:
    """Return whether training leaves this frame, or sentence, out."""
    draw = int.from_bytes(hashlib.sha256(f"wording/{frame}".encode()).digest()[:4], "big")
    return draw < UNSEEN_SHARE * 2**32


def split(lines: str, more: Iterable[str] = ()) -> Frames:
    """Return the frames of a text, one a line, split by their hashes.

    Training gets `more` frames too, but for those whose hash says that it never shows them.
    """
    frames = [line.strip() for line in lines.strip().splitlines()]
    unseen = tuple(frame for frame in frames if is_unseen(frame))
    return Frames(tuple(frame for frame in (*frames, *more) if not is_unseen(frame)), unseen)


def _joined(joints: Iterable[str], backgrounds: Iterable[str]) -> Iterator[str]:
    """Yield frames of a subject and a background in both orders."""
    for joint, background in product(joints, backgrounds):
        yield f"{{s}}{joint}{background}"
        yield f"{background}{joint}{{s}}"


_JOINTS = (", ", ". ", "; ", " - ", " ", " | ", ": ", " and ", ", and ", " with ")
_ZH_JOINTS = ("，", "。", " ", ",", "；", "、", "：", "和", "配", "，再加")

EN_WHOLE = split("""
    a picture of {x}
    an image of {x}
    a photo of {x}
    a photograph of {x}
    a drawing of {x}
    an illustration of {x}
    a painting of {x}
    a sketch of {x}
    a render of {x}
    a 3d render of {x}
    an icon of {x}
    a sticker of {x}
    a portrait of {x}
    a cartoon of {x}
    an emoji of {x}
    a poster of {x}
    picture of {x}
    image of {x}
    photo of {x}
    drawing of {x}
    clipart of {x}
    close up of {x}
    a close-up shot of {x}
    a picture showing {x}
    a picture with {x}
    an image with {x}
    an image that shows {x}
    a scene with {x}
    draw {x}
    draw me {x}
    please draw {x}
    please draw me {x}
    draw {x} for me
    draw {x} please
    paint {x}
    paint me {x}
    sketch {x}
    illustrate {x}
    render {x}
    design {x}
    depict {x}
    imagine {x}
    generate {x}
    generate an image of {x}
    generate a picture with {x}
    create {x}
    create a picture of {x}
    create an image showing {x}
    make {x}
    make me {x}
    make an image of {x}
    make a picture that shows {x}
    produce a picture of {x}
    show {x}
    show me {x}
    show me a picture of {x}
    give me {x}
    give me an image of {x}
    get me {x}
    let me see {x}
    let us have {x}
    i want {x}
    i want to see {x}
    i want a picture of {x}
    i would like {x}
    i'd like {x}
    i'd like to see {x}
    i'd love to have {x}
    i'd like you to draw {x}
    i need {x}
    i need a picture of {x}
    i am looking for {x}
    i'm thinking of {x}
    i wish for {x}
    we need {x}
    we would like to have {x}
    my daughter wants {x}
    my son asked for {x}
    my teacher wants to see {x}
    my little sister likes {x}
    can you draw {x}?
    can you draw {x} for me
    can you make {x}?
    can i have {x}?
    can i get a picture of {x}?
    could you draw {x}?
    could you please draw {x}
    could you show me {x}?
    could you make an image of {x}?
    could i see {x}?
    would you draw {x}?
    would you please paint {x}
    will you make me {x}?
    may i see {x}?
    how about {x}?
    what about {x}
    what does {x} look like?
    there is {x}
    there's {x}
    there stands {x}
    here is {x}
    here's {x}
    here we have {x}
    here you see {x}
    this is {x}
    it is {x}
    it's {x}
    it shows {x}
    the picture shows {x}
    the image shows {x}
    the picture has {x}
    in the picture there is {x}
    in this picture you can see {x}
    we see {x}
    you can see {x}
    look, {x}
    look at {x}
    look at that, {x}
    simply {x}
    just {x}
    only {x}
    nothing but {x}
    try {x}
    try to draw {x}
    go for {x}
    prompt: {x}
    subject: {x}
    theme: {x}
    topic: {x}
    title: {x}
    picture: {x}
    {x}, that is what i want
    {x}, that's all
    {x} would be nice
    {x} would be great
    {x} as a drawing
    {x} as a picture
    {x} in a picture
    {x}, please
    {x} please
    {x} for me
    {x}, can you do that?
    {x}, drawn for a child
    {x}, nothing else
    {x} and nothing else
""")
"""Around a whole caption; that nothing stands around it is the most usual."""

EN_COLOURED = split(
    """
    {s} on {ac} {g}
    {s} against {ac} {g}
    {s} in front of {ac} {g}
    {s} with {ac} {g}
    {s} before {ac} {g}
    {s} upon {ac} {g}
    {s} set on {ac} {g}
    {s} set against {ac} {g}
    {s} placed on {ac} {g}
    {s} shown on {ac} {g}
    {s} drawn on {ac} {g}
    {s} painted on {ac} {g}
    {s} standing in front of {ac} {g}
    {s} sitting in front of {ac} {g}
    {s} isolated on {ac} {g}
    {s} isolated on {c}
    {s} that stands before {ac} {g}
    {s} which is on {ac} {g}
    {s} is on {ac} {g}
    {s} has {ac} {g}
    {s} having {ac} {g}
    {s} using {ac} {g}
    {s} and {ac} {g}
    {s} plus {ac} {g}
    {s} and behind it {ac} {g}
    {s} and a {g} that is {c}
    {s} and the {g} is {c}
    {s} on a {g} that is {c}
    {s} on a {g} of {c}
    {s} with a {g} in {c}
    {s} with the {g} in {c}
    {s} with a {g} colored {c}
    {s} where the {g} is {c}
    {s} whose {g} is {c}
    {s} while the {g} is {c}
    {s}, {c} {g}
    {s}, {ac} {g}
    {s}, with {ac} {g}
    {s}, on {ac} {g}
    {s}, in front of {ac} {g}
    {s}, {g} is {c}
    {s}, {g} {c}
    {s}, {g} in {c}
    {s}, {g}: {c}
    {s}, {g} = {c}
    {s}, {g} color {c}
    {s}, {g} colour: {c}
    {s}, the {g} is {c}
    {s}, the {g} should be {c}
    {s}, the {g} must be {c}
    {s}, the {g} has to be {c}
    {s}, make the {g} {c}
    {s}, paint the {g} {c}
    {s}, fill the {g} with {c}
    {s}, and please {ac} {g}
    {s}, but with {ac} {g}
    {s}. {c} {g}
    {s}. the {g} is {c}
    {s}. the {g} should be {c}
    {s}. i want the {g} {c}
    {s}. please use {ac} {g}
    {s}; {c} {g}
    {s}; the {g} should be {c}
    {s} - {c} {g}
    {s} | {c} {g}
    {s} / {g} {c}
    {s} ({c} {g})
    {s} {c} {g}
    {s} on {c}
    {s} against {c}
    {s}, on {c}
    {s}, {c} behind it
    {s}, all {c} behind it
    {s}, everything else {c}
    {s}, everything behind it is {c}
    {s}, the rest is {c}
    {s}, the rest of the picture {c}
    {s}, surrounded by {c}
    {s} with {c} behind it
    {s} with {c} all around
    {s} with everything else {c}
    {s} with {c} as the {g}
    {s} surrounded by {c}
    {s} in front of {c}
    {s} in front of something {c}
    {s}, what is behind it is {c}
    on {ac} {g}, {s}
    on {ac} {g} {s}
    on {ac} {g} there is {s}
    on {ac} {g} we see {s}
    on {ac} {g} you see {s}
    on {ac} {g} stands {s}
    on {ac} {g} please draw {s}
    against {ac} {g}, {s}
    against {ac} {g} there is {s}
    in front of {ac} {g}, {s}
    in front of {ac} {g} stands {s}
    in front of {ac} {g} is {s}
    with {ac} {g}, {s}
    before {ac} {g}, {s}
    {c} {g}, {s}
    {c} {g} with {s}
    {c} {g} and {s}
    {c} {g} and on it {s}
    {c} {g}: {s}
    {c} {g} - {s}
    {c} {g}. {s}
    {ac} {g} with {s}
    {ac} {g} with {s} on it
    {ac} {g} and {s}
    {ac} {g}, {s}
    {ac} {g} showing {s}
    {ac} {g} featuring {s}
    {ac} {g} behind {s}
    {ac} {g} has {s} on it
    {g} {c}, {s}
    {g}: {c}, {s}
    {g} is {c}, {s}
    {g} in {c}, {s}
    the {g} is {c}, {s}
    the {g} is {c} and there is {s}
    the {g} is {c} and shows {s}
    the {g} is {c} behind {s}
    the {g} should be {c}, with {s}
    the {g} should be {c}, {s} in front
    the {g} behind {s} is {c}
    the {g} of {s} is {c}
    use {ac} {g} for {s}
    use {ac} {g} and draw {s}
    make the {g} {c} and add {s}
    paint the {g} {c} and put {s} on it
    put {s} on {ac} {g}
    put {s} in front of {ac} {g}
    place {s} on {ac} {g}
    have {s} with {ac} {g}
    let the {g} be {c} and show {s}
    take {ac} {g} and {s}
    everything behind {s} is {c}
    all behind {s} is {c}
    behind {s} there is {ac} {g}
    behind {s} everything is {c}
    {c} behind {s}
    {c} all around {s}
""",
    _joined(
        _JOINTS, ("{c} {g}", "{ac} {g}", "the {g} is {c}", "{g} {c}", "{g} in {c}", "{c} behind it")
    ),
)
"""One subject on a colour."""

EN_IN_PLACE = split("""
    {s} {in}
    {s}, {in}
    {s}. {in}
    {s}; {in}
    {s} - {in}
    {s} that is {in}
    {s} which is {in}
    {s} that stands {in}
    {s} that lives {in}
    {s} that we saw {in}
    {s} is {in}
    {s} was {in}
    {s} sits {in}
    {s} sitting {in}
    {s} standing {in}
    {s} resting {in}
    {s} waiting {in}
    {s} lying {in}
    {s} hiding {in}
    {s} playing {in}
    {s} relaxing {in}
    {s} seen {in}
    {s} found {in}
    {s} kept {in}
    {s} placed {in}
    {s} shown {in}
    {s} photographed {in}
    {s} painted {in}
    {s} somewhere {in}
    {s} alone {in}
    {s} all alone {in}
    {s} out {in}
    {s} right {in}
    {s} here {in}
    {s} {in}, what a view
    {s} {in} on a calm day
    {s} {in} while nobody is there
    {s} having a good time {in}
    {s} enjoying itself {in}
    {s} spending the holidays {in}
    {s} on a trip {in}
    {s}, photographed {in}
    {s}, it is {in}
    {s}, we are {in}
    {s}, the scene is {in}
    {s}, the story takes place {in}
    {s}, everything happens {in}
    {in}, {s}
    {in} {s}
    {in}: {s}
    {in} there is {s}
    {in}, there is {s}
    {in} there was {s}
    {in} stands {s}
    {in} sits {s}
    {in} lies {s}
    {in} waits {s}
    {in} is {s}
    {in} appears {s}
    {in} we see {s}
    {in} we find {s}
    {in} you see {s}
    {in} you can see {s}
    {in} one can find {s}
    {in}, please draw {s}
    {in}, and in front {s}
    someone forgot {s} {in}
    somebody put {s} {in}
    put {s} {in}
    place {s} {in}
    i saw {s} {in}
    we met {s} {in}
    what {s} does {in}
    how {s} looks {in}
    we are {in} and see {s}
    it is all {in}, {s}
""")
"""One subject in a landscape that is said by where."""

EN_AT_SCENE = split(
    """
    {s}, {n} background
    {s}, {n} {g}
    {s}, {n} scene
    {s}, {n} scenery
    {s}, {n} landscape
    {s}, {n}
    {s}, {an}
    {s}, {an} behind it
    {s}, {an} in the background
    {s}, background: {n}
    {s}, background is {an}
    {s}, scene: {n}
    {s}, setting: {n}
    {s}, the background is {an}
    {s}, the background shows {an}
    {s}, the background should be {an}
    {s}, behind it {an}
    {s}, behind it there is {an}
    {s}, as a background {an}
    {s}, with {an} behind
    {s}. {n} background
    {s}. in the background there is {an}
    {s}. the background is {an}
    {s}; background {n}
    {s} - {n}
    {s} - {n} background
    {s} ({n})
    {s} | {n} background
    {s} {n} background
    {s} and {an}
    {s} and {an} behind it
    {s} and in the background {an}
    {s} with {an}
    {s} with {an} in the background
    {s} with {an} as a background
    {s} with {an} behind it
    {s} with a {n} background
    {s} with {n} scenery
    {s} against {an}
    {s} against a {n} background
    {s} before {an}
    {s} in front of {an}
    {s} surrounded by {an}
    {s} in a {n} scene
    {s} in a {n} setting
    {s} on a {n} background
    {s} in front of a {n} background
    {s} where there is {an}
    {s} visiting {an}
    {s} near {an}
    {n}, {s}
    {n} background, {s}
    {n} background with {s}
    {n} scene, {s}
    {n} scene with {s}
    {n} scenery and {s}
    {n} landscape, {s}
    {n}: {s}
    {n} - {s}
    {n} and {s}
    {n} behind {s}
    {an} with {s}
    {an}, {s}
    {an} and {s}
    {an} and in front of it {s}
    {an} behind {s}
    {an} in the background and {s}
    a view of {an} with {s}
    a landscape with {an} and {s}
    a {n} background with {s}
    a {n} scene showing {s}
    background {n}, {s}
    background: {n}, {s}
    background of {n}, {s}
    the background is {an} and there is {s}
    the background shows {an}, in front {s}
    the scene is {an} with {s}
    behind {s} there is {an}
    behind {s} you can see {an}
    in front of {an} there is {s}
    in the background {an}, in front {s}
    put {an} behind {s}
    show {an} and {s}
    use {an} as the background for {s}
""",
    _joined(_JOINTS, ("{n} {g}", "a {n} {g}", "{an}", "the {g} is {an}", "{n} in the background")),
)
"""One subject in a landscape that is said by what is there."""

EN_PLACED = split("""
    {s} {p}
    {s}, {p}
    {s}. {p}
    {s} - {p}
    {s} ({p})
    {s} placed {p}
    {s} located {p}
    {s} standing {p}
    {s} sitting {p}
    {s} shown {p}
    {s} drawn {p}
    {s} seen {p}
    {s} waiting {p}
    {s} positioned {p}
    {s} that is {p}
    {s} that stands {p}
    {s} which is {p}
    {s} is {p}
    {s} stands {p}
    {s} sits {p}
    {s} should be {p}
    {s} right there {p}
    {s} somewhere {p}
    {s} {p} of the picture
    {s} {p} of the image
    {s} {p} of the frame
    {s} {p} of the photo
    {s} {p} of the scene
    {s}, {p} of the picture
    {s}, placed {p}
    {s}, standing {p}
    {s}, position: {p}
    {s}, it is {p}
    {s}, it should be {p}
    {s}, please put it {p}
    {s}, and it stands {p} of the image
    {s} placed {p} of the picture
    {s} located {p} of the frame
    {p} {s}
    {p}, {s}
    {p}: {s}
    {p} there is {s}
    {p} stands {s}
    {p} sits {s}
    {p} is {s}
    {p} we see {s}
    {p} you can see {s}
    {p} of the picture {s}
    {p} of the picture, {s}
    {p} of the picture there is {s}
    {p} of the image stands {s}
    {p} of the frame is {s}
    put {s} {p}
    put {s} {p} of the picture
    place {s} {p}
    place {s} {p} of the image
    have {s} {p}
    keep {s} {p}
    move {s} so that it is {p}
""")
"""One subject at a side."""

EN_BESIDE = split("""
    {a} and {b}
    {a} and {b}
    {a} and {b} together
    {a} and {b} side by side
    {a} and also {b}
    {a} and then {b}
    {a} and next to it {b}
    {a} and beside it {b}
    {a} & {b}
    {a}, {b}
    {a} plus {b}
    {a} + {b}
    {a} with {b}
    {a} with {b} beside it
    {a} with {b} next to it
    {a} with {b} at its side
    {a} along with {b}
    {a} together with {b}
    {a} in the company of {b}
    {a} accompanied by {b}
    {a} next to {b}
    {a} beside {b}
    {a} by {b}
    {a} near {b}
    {a} close to {b}
    {a} alongside {b}
    {a} right next to {b}
    {a} right beside {b}
    {a} by the side of {b}
    {a} at the side of {b}
    {a} is next to {b}
    {a} is beside {b}
    {a} is standing by {b}
    {a} stands next to {b}
    {a} standing next to {b}
    {a} standing beside {b}
    {a} sits next to {b}
    {a} sitting by {b}
    {a} placed beside {b}
    {a} that is next to {b}
    {a} that stands beside {b}
    {a} has {b} beside it
    {a} meets {b}
    {a} meeting {b}
    {a} looking at {b}
    {a} playing with {b}
    {a} who likes {b}
    {a} as well as {b}
    {a} who is friends with {b}
    {a} next to which there is {b}
    {a} left of {b}
    {a} to the left of {b}
    {a} on the left of {b}
    {a} on the left side of {b}
    {a} at the left of {b}
    {a} is to the left of {b}
    {a} stands left of {b}
    {a} placed to the left of {b}
    {a} on the left and {b} on the right
    {a} on the left, {b} on the right
    {a} at the left and {b} at the right
    {a} on the left side and {b} on the right side
    {a} with {b} on the right
    {a} with {b} to its right
    {a} with {b} on its right side
    {a} and on the right {b}
    {a} and to the right of it {b}
    {a} left, {b} right
    {a} is left and {b} is right
    left {a}, right {b}
    left: {a}, right: {b}
    left {a} and right {b}
    on the left {a}, on the right {b}
    on the left {a} and on the right {b}
    on the left there is {a}, on the right {b}
    on the left side {a} and on the right side {b}
    to the left {a}, to the right {b}
    the left one is {a}, the right one is {b}
    the left half shows {a}, the right half {b}
    {b} right of {a}
    {b} to the right of {a}
    {b} on the right of {a}
    {b} on the right side of {a}
    {b} at the right of {a}
    {b} is to the right of {a}
    {b} stands right of {a}
    {b} placed to the right of {a}
    {b} on the right and {a} on the left
    {b} on the right, {a} on the left
    {b} at the right and {a} at the left
    {b} with {a} on the left
    {b} with {a} to its left
    {b} with {a} on its left side
    {b} and on the left {a}
    {b} and to the left of it {a}
    {b} right, {a} left
    right: {b}, left: {a}
    on the right {b}, on the left {a}
    on the right {b} and on the left {a}
    on the right there is {b}, on the left {a}
    to the right {b}, to the left {a}
    both {a} and {b}
    two things: {a} and {b}
    next to each other: {a} and {b}
    side by side {a} and {b}
""")
"""Two things; the first one named stands at the left if nothing else is said."""

EN_ABOVE = split("""
    {a} above {b}
    {a} over {b}
    {a} on top of {b}
    {a} right above {b}
    {a} directly above {b}
    {a} just above {b}
    {a} high above {b}
    {a} right over {b}
    {a} up above {b}
    {a} is above {b}
    {a} is over {b}
    {a} stands above {b}
    {a} placed above {b}
    {a} placed over {b}
    {a} floating above {b}
    {a} floating over {b}
    {a} hovering above {b}
    {a} hovering over {b}
    {a} flying over {b}
    {a} hanging above {b}
    {a} that is above {b}
    {a} that floats over {b}
    {a} higher than {b}
    {a} with {b} below it
    {a} with {b} below
    {a} with {b} underneath
    {a} with {b} under it
    {a} and below it {b}
    {a} and under it {b}
    {a} and underneath {b}
    {a}, below it {b}
    {a} above and {b} below
    {a} above, {b} below
    {a} at the top and {b} at the bottom
    {a} at the top, {b} at the bottom
    {a} on top and {b} below
    {a} in the upper half and {b} in the lower half
    {a} stacked on {b}
    top: {a}, bottom: {b}
    at the top {a}, at the bottom {b}
    at the top {a} and at the bottom {b}
    above {b} there is {a}
    above {b} is {a}
    above {b} we see {a}
    over {b} there is {a}
    over {b} floats {a}
    up there {a}, down there {b}
    the upper one is {a}, the lower one is {b}
    {b} below {a}
    {b} under {a}
    {b} beneath {a}
    {b} underneath {a}
    {b} right below {a}
    {b} directly under {a}
    {b} just below {a}
    {b} is below {a}
    {b} is under {a}
    {b} stands below {a}
    {b} placed below {a}
    {b} sitting under {a}
    {b} that is under {a}
    {b} lower than {a}
    {b} with {a} above it
    {b} with {a} above
    {b} with {a} over it
    {b} with {a} on top
    {b} and above it {a}
    {b} and over it {a}
    {b} and on top of it {a}
    {b}, above it {a}
    {b} below and {a} above
    {b} below, {a} above
    {b} at the bottom and {a} at the top
    {b} at the bottom, {a} at the top
    bottom: {b}, top: {a}
    at the bottom {b}, at the top {a}
    below {a} there is {b}
    below {a} is {b}
    under {a} there is {b}
    under {a} stands {b}
    under {a} we see {b}
    down there {b}, up there {a}
""")
"""Two things; {a} is the upper one."""

EN_EMPTY_COLOUR = split("""
    {ac} {g}
    {c} {g}
    {c}
    {ac} {g} with nothing on it
    {ac} {g} and nothing else
    {ac} {g}, nothing else
    {ac} {g}, no objects
    {ac} {g} without anything
    an empty {c} {g}
    empty {c} {g}
    a plain {c} {g}
    plain {c} {g}
    just {ac} {g}
    only {ac} {g}
    simply {c}
    only {c}
    nothing but {c}
    everything {c}
    everything in {c}
    everything is {c}
    all {c}
    the whole picture {c}
    the whole picture is {c}
    a picture that is all {c}
    a completely {c} picture
    a {g} in {c}
    a {g} that is {c}
    {g} in {c}
    {g}: {c}
    {g} {c}
    the {g} is {c}
    the {g} should be {c}
    the {g} should be {c}, nothing in front of it
    {c} and nothing else
    {c} everywhere
    {c} color
    the color {c}
    the colour {c}
    fill the picture with {c}
    paint everything {c}
    a wall painted {c}
    {c}, empty
    {c}, no objects, no text
""")

EN_EMPTY_SCENE = split("""
    {an}
    {an}
    {n}
    {n} background
    {n} scene
    {n} scenery
    {n} landscape
    {n} view
    a {n} background
    a {n} scene
    an empty {n} scene
    a view of {an}
    a landscape with {an}
    a landscape, {n}
    {an} with nothing on it
    {an} and nothing else
    {an} without anything
    {an}, nothing else
    {an}, no objects
    {an}, empty
    {an} as a background
    {an} with nobody there
    empty {n}
    just {an}
    only {an}
    nothing but {an}
    simply {an}
    background: {n}
    background of {n}
    the background is {an}
    the scene is {an}
    scenery: {n}
    {in}
    {in}, nothing else
    {in}, no objects
    {in} with nobody there
    somewhere {in}
    we are {in}
    a day {in}
    a quiet place {in}
    the view {in}
    an empty scene {in}
    what it looks like {in}
    nothing is there, only {an}
    the beauty of {an}
""")

EN_COUNTED = split("""
    {k} {m}
    {k} {m}
    {k} {m}
    {k} {m}
    exactly {k} {m}
    {m}, {k} of them
    {m}, exactly {k}
    {m} ({k})
    {m} x{k}
    {k} x {m}
    {k} of these {m}
    these {k} {m}
    my {k} {m}
    the {k} {m}
    a group of {k} {m}
    a set of {k} {m}
    a total of {k} {m}
    a bunch of {k} {m}
    {k} different {m}
    {k} identical {m}
    {k} separate {m}
    {m}: {k}
    {k} {m} together
    {k} {m} in all
    {m} and there are {k}
    {k} pieces of {m}
    all {k} {m}
    no more than {k} {m}
""")

ZH_WHOLE = split("""
    画{x}
    画一下{x}
    画一张{x}
    画一幅{x}
    画一张{x}的图
    画个图，{x}
    请画{x}
    请画一张{x}
    请画出{x}
    请帮我画{x}
    请给我画{x}
    请你画{x}
    帮我画{x}
    帮我画一张{x}
    帮忙画一下{x}
    给我画{x}
    给我画一幅{x}
    给我来{x}
    给我看{x}
    给孩子画{x}
    画出{x}
    绘制{x}
    绘制一张{x}的图片
    请绘制{x}
    生成{x}
    生成一张{x}的图片
    生成图片：{x}
    请生成{x}
    请生成一张{x}的图
    帮我生成{x}
    创建{x}
    创作{x}
    设计{x}
    制作一张{x}的图片
    做一张{x}的图
    来{x}
    来一张{x}
    来一幅{x}的画
    来张图，{x}
    显示{x}
    展示{x}
    描绘{x}
    想象{x}
    我想要{x}
    我要{x}
    我想要一张{x}的图片
    我要一张图，{x}
    我想看{x}
    我想看到{x}
    我想画{x}
    我需要{x}
    我需要一张{x}的图片
    我喜欢{x}
    我希望看到{x}
    我们需要{x}
    想要{x}
    想看{x}
    要{x}
    能画{x}吗
    能不能画{x}
    能不能帮我画{x}？
    能给我画{x}吗？
    可以画{x}吗？
    可以给我看{x}吗
    可不可以画{x}
    可否生成{x}
    麻烦画{x}
    麻烦你画一下{x}
    有{x}
    这里有{x}
    这是{x}
    那是{x}
    图中有{x}
    图里有{x}
    画面中有{x}
    画面里是{x}
    图片里有{x}
    照片里有{x}
    你看，{x}
    看，{x}
    看看{x}
    可以看到{x}
    我看见{x}
    一张{x}的图片
    一张{x}的照片
    一张{x}的图
    一幅{x}的画
    一幅{x}的插画
    一张图片，{x}
    一张照片，{x}
    一幅画：{x}
    图片：{x}
    图像：{x}
    照片：{x}
    插画，{x}
    插画：{x}
    主题：{x}
    题目：{x}
    内容：{x}
    提示词：{x}
    主角是{x}
    简单的{x}
    只有{x}
    只要{x}
    就画{x}
    就{x}
    {x}的图片
    {x}的照片
    {x}的图
    {x}的插画
    {x}的画
    {x}，谢谢
    {x}，就这样
    {x}，画得好看一点
    {x}，没有别的
    {x}，可以吗
    {x}，麻烦了
    {x}就好
    {x}就可以了
    {x}怎么样
    {x}长什么样
    我家孩子想看{x}
    我的女儿想要{x}
    老师让我们画{x}
    妹妹最喜欢{x}
    试着画{x}
""")

ZH_COLOURED = split(
    """
    {s}，{c}{g}
    {s}，{c}的{g}
    {s}，{g}是{c}
    {s}，{g}是{c}的
    {s}，{g}为{c}
    {s}，{g}{c}
    {s}，{g}：{c}
    {s}，{g}用{c}
    {s}，{g}要{c}
    {s}，{g}要{c}的
    {s}，{g}应该是{c}
    {s}，{g}涂成{c}
    {s}，{g}颜色是{c}
    {s}，{g}颜色为{c}
    {s}，以{c}为{g}
    {s}，用{c}作{g}
    {s}，用{c}的{g}
    {s}，把{g}画成{c}
    {s}，{c}作为{g}
    {s}，配{c}{g}
    {s}，配上{c}的{g}
    {s}，后面是{c}
    {s}，后面全是{c}
    {s}，后面是{c}的{g}
    {s}，身后是{c}
    {s}，周围都是{c}
    {s}，四周是{c}
    {s}，其余都是{c}
    {s}，其他地方都是{c}
    {s}，在{c}{g}上
    {s}，在{c}{g}前
    {s}，背后是{c}
    {s}，背后一片{c}
    {s}，请用{c}{g}
    {s}。{g}是{c}
    {s}。{c}{g}
    {s}。{g}请用{c}
    {s}；{c}{g}
    {s} {c}{g}
    {s},{c}{g}
    {s}（{c}{g}）
    {s}-{c}{g}
    {s}/{g}{c}
    {s}在{c}{g}上
    {s}在{c}的{g}上
    {s}在{c}{g}前
    {s}在{c}的{g}前面
    {s}在{c}{g}中
    {s}在{c}里
    {s}站在{c}{g}前
    {s}放在{c}的{g}上
    {s}画在{c}{g}上
    {s}位于{c}{g}上
    {s}和{c}{g}
    {s}加{c}{g}
    {s}配{c}{g}
    {s}的{g}是{c}
    {s}的{g}是{c}的
    {s}的后面是{c}{g}
    {s}后面是{c}
    {s}后面是{c}的{g}
    {s}背后是{c}
    {c}{g}，{s}
    {c}{g},{s}
    {c}{g}：{s}
    {c}{g} {s}
    {c}{g}。{s}
    {c}{g}上{s}
    {c}{g}上有{s}
    {c}{g}上的{s}
    {c}{g}上面画着{s}
    {c}{g}前有{s}
    {c}{g}前的{s}
    {c}{g}前面是{s}
    {c}{g}中的{s}
    {c}{g}里有{s}
    {c}{g}下的{s}
    {c}{g}和{s}
    {c}{g}加{s}
    {c}{g}配{s}
    {c}{g}里的{s}
    {c}的{g}，{s}
    {c}的{g}上有{s}
    {c}的{g}上是{s}
    {c}的{g}前站着{s}
    {c}的{g}衬着{s}
    {c}为{g}，{s}
    {c}作{g}，{s}
    在{c}{g}上，{s}
    在{c}{g}上有{s}
    在{c}{g}上画{s}
    在{c}的{g}上画{s}
    在{c}的{g}上放{s}
    在{c}的{g}前，{s}
    在{c}{g}前面有{s}
    在{c}{g}中，{s}
    以{c}为{g}，{s}
    以{c}为{g}的{s}
    以{c}为{g}画{s}
    用{c}{g}，{s}
    用{c}作{g}，画{s}
    用{c}的{g}画{s}
    {g}是{c}，{s}
    {g}是{c}的，前面有{s}
    {g}为{c}，{s}
    {g}为{c}的{s}
    {g}{c}，{s}
    {g}：{c}，{s}
    {g}用{c}，画{s}
    {g}涂成{c}，再画{s}
    把{g}画成{c}，前面放{s}
    把{s}放在{c}{g}上
    把{s}画在{c}的{g}上
    一片{c}，{s}
    一片{c}中有{s}
    一片{c}前面的{s}
    整个{g}都是{c}，{s}
    周围是{c}，再画{s}
""",
    _joined(_ZH_JOINTS, ("{c}{g}", "{c}的{g}", "{g}是{c}", "{g}{c}", "{g}用{c}", "后面是{c}")),
)

ZH_IN_PLACE = split("""
    {s}{in}
    {s}，{in}
    {s}。{in}
    {s} {in}
    {s}就{in}
    {s}正{in}
    {s}站{in}
    {s}坐{in}
    {s}躺{in}
    {s}停{in}
    {s}放{in}
    {s}出现{in}
    {s}生活{in}
    {s}独自{in}
    {s}静静地{in}
    {s}安静地{in}
    {s}一直{in}
    {s}{in}休息
    {s}{in}玩耍
    {s}{in}等人
    {s}{in}拍照
    {s}{in}散步
    {s}{in}，真美
    {s}{in}，很安静
    {s}，它{in}
    {s}，场景{in}
    {s}，故事发生{in}
    {in}{s}
    {in}，{s}
    {in}：{s}
    {in} {s}
    {in}的{s}
    {in}有{s}
    {in}，有{s}
    {in}站着{s}
    {in}坐着{s}
    {in}放着{s}
    {in}出现了{s}
    {in}看到{s}
    {in}看见了{s}
    {in}可以看到{s}
    {in}遇到{s}
    {in}画{s}
    {in}拍的{s}
    {in}休息的{s}
    {in}玩耍的{s}
    {in}，我看到{s}
    {in}，那里有{s}
    我们{in}看到{s}
    有人{in}放了{s}
    有人{in}画了{s}
    把{s}放{in}
    让{s}{in}
""")

ZH_AT_SCENE = split(
    """
    {s}，{n}
    {s}，{n}背景
    {s}，{n}的背景
    {s}，{n}场景
    {s}，{n}风景
    {s}，背景是{n}
    {s}，背景为{n}
    {s}，背景：{n}
    {s}，背景有{n}
    {s}，背景里是{n}
    {s}，背景用{n}
    {s}，背景应该是{n}
    {s}，以{n}为背景
    {s}，用{n}作背景
    {s}，后面是{n}
    {s}，后面有{n}
    {s}，身后是{n}
    {s}，背后是{n}
    {s}，远处是{n}
    {s}，周围是{n}
    {s}，配上{n}
    {s}。背景是{n}
    {s}。{n}
    {s} {n}背景
    {s} {n}
    {s},{n}
    {s}（{n}）
    {s}和{n}
    {s}与{n}
    {s}加{n}背景
    {s}在{n}背景前
    {s}在{n}的背景上
    {s}的背景是{n}
    {s}的后面是{n}
    {s}后面有{n}
    {s}背后是{n}
    {n}，{s}
    {n}：{s}
    {n} {s}
    {n}的{s}
    {n}和{s}
    {n}与{s}
    {n}中的{s}
    {n}里的{s}
    {n}前的{s}
    {n}背景，{s}
    {n}背景的{s}
    {n}背景上的{s}
    {n}背景前有{s}
    {n}的背景，{s}
    {n}的背景前是{s}
    {n}场景，{s}
    {n}场景中的{s}
    {n}风景，有{s}
    {n}为背景，{s}
    {n}作背景，前面是{s}
    背景是{n}，{s}
    背景是{n}，前面有{s}
    背景为{n}，{s}
    背景：{n}，{s}
    背景{n}，{s}
    以{n}为背景，{s}
    以{n}为背景的{s}
    以{n}为背景画{s}
    用{n}作背景画{s}
    在{n}的背景前，{s}
    在{n}背景上画{s}
    有{n}有{s}
    一片{n}，{s}
    远处是{n}，近处是{s}
    后面是{n}，前面是{s}
""",
    _joined(_ZH_JOINTS, ("{n}", "{n}背景", "背景是{n}", "{n}的背景", "后面是{n}")),
)

ZH_PLACED = split("""
    {p}有{s}
    {p}是{s}
    {p}的{s}
    {p}，{s}
    {p}：{s}
    {p} {s}
    {p}站着{s}
    {p}放着{s}
    {p}画{s}
    {p}出现{s}
    {p}可以看到{s}
    画面{p}有{s}
    画面{p}是{s}
    画面的{p}有{s}
    画面{p}的{s}
    图片{p}有{s}
    图片{p}是{s}
    图片的{p}有{s}
    图的{p}画{s}
    在{p}，{s}
    在{p}有{s}
    在{p}画{s}
    在{p}放{s}
    在画面{p}有{s}
    在画面的{p}，{s}
    在图片{p}画{s}
    {s}在{p}
    {s}在画面{p}
    {s}在画面的{p}
    {s}在图片{p}
    {s}在图片的{p}
    {s}位于{p}
    {s}位于画面{p}
    {s}站在{p}
    {s}放在{p}
    {s}放在画面{p}
    {s}画在{p}
    {s}处于{p}
    {s}要在{p}
    {s}应该在{p}
    {s}就在{p}
    {s}靠{p}
    {s}，在{p}
    {s}，位于{p}
    {s}，位于图片{p}
    {s}，放在{p}
    {s}，{p}
    {s}，在画面{p}
    {s}，位置在{p}
    {s}，位置：{p}
    {s}，它在{p}
    {s} {p}
    {s}（{p}）
    把{s}放在{p}
    把{s}画在{p}
    把{s}放在画面的{p}
    让{s}在{p}
    请把{s}放到{p}
""")

ZH_BESIDE = split("""
    {a}和{b}
    {a}和{b}
    {a}和{b}一起
    {a}和{b}在一起
    {a}和{b}并排
    {a}和{b}站在一起
    {a}和旁边的{b}
    {a}与{b}
    {a}与{b}一起
    {a}跟{b}
    {a}跟{b}在一起
    {a}、{b}
    {a}，{b}
    {a}+{b}
    {a}加{b}
    {a}加上{b}
    {a}以及{b}
    {a}还有{b}
    {a}，还有{b}
    {a}带着{b}
    {a}陪着{b}
    {a}看着{b}
    {a}遇到{b}
    {a}靠着{b}
    {a}挨着{b}
    {a}紧挨着{b}
    {a}在{b}旁边
    {a}在{b}旁
    {a}在{b}身边
    {a}在{b}的旁边
    {a}在{b}附近
    {a}就在{b}旁边
    {a}站在{b}旁边
    {a}坐在{b}旁
    {a}放在{b}旁边
    {a}位于{b}旁边
    {a}，旁边有{b}
    {a}，旁边是{b}
    {a}，身边有{b}
    {a}旁边有{b}
    {a}旁边是{b}
    {a}的旁边有{b}
    {a}的旁边是{b}
    {a}身边有{b}
    {a}身边是{b}
    {a}旁有{b}
    {a}旁边站着{b}
    {a}旁边放着{b}
    {a}在{b}左边
    {a}在{b}的左边
    {a}在{b}左侧
    {a}位于{b}的左侧
    {a}站在{b}的左边
    {a}在左边，{b}在右边
    {a}在左，{b}在右
    {a}在左侧，{b}在右侧
    {a}的右边是{b}
    {a}的右边有{b}
    {a}右边是{b}
    {a}的右侧是{b}
    {a}，右边是{b}
    {a}，它的右边有{b}
    左边是{a}，右边是{b}
    左边是{a}右边是{b}
    左边{a}右边{b}
    左边{a}，右边{b}
    左边有{a}，右边有{b}
    左边画{a}，右边画{b}
    左边一个是{a}，右边一个是{b}
    左侧是{a}，右侧是{b}
    左{a}右{b}
    左：{a}，右：{b}
    画面左边是{a}，右边是{b}
    {b}在{a}右边
    {b}在{a}的右边
    {b}在{a}右侧
    {b}位于{a}的右侧
    {b}站在{a}的右边
    {b}在右边，{a}在左边
    {b}在右，{a}在左
    {b}在右侧，{a}在左侧
    {b}的左边是{a}
    {b}的左边有{a}
    {b}左边是{a}
    {b}的左侧是{a}
    {b}，左边是{a}
    {b}，它的左边有{a}
    右边是{b}，左边是{a}
    右边是{b}左边是{a}
    右边{b}，左边{a}
    右边有{b}，左边有{a}
    右侧是{b}，左侧是{a}
    同时有{a}和{b}
    既有{a}也有{b}
    有{a}也有{b}
    并排的{a}和{b}
    挨在一起的{a}和{b}
    两样东西：{a}和{b}
""")

ZH_ABOVE = split("""
    {a}在{b}上面
    {a}在{b}的上面
    {a}在{b}上方
    {a}在{b}的上方
    {a}在{b}之上
    {a}在{b}正上方
    {a}就在{b}上面
    {a}位于{b}上方
    {a}位于{b}的上面
    {a}浮在{b}上方
    {a}悬在{b}上方
    {a}飘在{b}上面
    {a}飞在{b}的上方
    {a}放在{b}上面
    {a}压在{b}上面
    {a}在上，{b}在下
    {a}在上面，{b}在下面
    {a}在上方，{b}在下方
    {a}在顶部，{b}在底部
    {a}下面是{b}
    {a}下面有{b}
    {a}的下面是{b}
    {a}的下方有{b}
    {a}的下方是{b}
    {a}底下是{b}
    {a}，下面是{b}
    {a}，下面有{b}
    {a}，底下有{b}
    {a}，它的下面有{b}
    {a}比{b}高
    上面是{a}，下面是{b}
    上面是{a}下面是{b}
    上面{a}，下面{b}
    上面有{a}，下面有{b}
    上面画{a}，下面画{b}
    上方是{a}，下方是{b}
    上{a}下{b}
    上：{a}，下：{b}
    顶部是{a}，底部是{b}
    {b}在{a}下面
    {b}在{a}的下面
    {b}在{a}下方
    {b}在{a}的下方
    {b}在{a}之下
    {b}在{a}底下
    {b}在{a}正下方
    {b}就在{a}下面
    {b}位于{a}下方
    {b}位于{a}的下面
    {b}放在{a}下面
    {b}站在{a}下面
    {b}在下，{a}在上
    {b}在下面，{a}在上面
    {b}在下方，{a}在上方
    {b}在底部，{a}在顶部
    {b}上面是{a}
    {b}上面有{a}
    {b}的上面是{a}
    {b}的上面有{a}
    {b}的上方是{a}
    {b}上方有{a}
    {b}，上面是{a}
    {b}，上面有{a}
    {b}，它的上方有{a}
    下面是{b}，上面是{a}
    下面{b}，上面{a}
    下面有{b}，上面有{a}
    下方是{b}，上方是{a}
    底部是{b}，顶部是{a}
    {b}比{a}低
    {b}的头顶有{a}
    {b}头上有{a}
""")

ZH_EMPTY_COLOUR = split("""
    {c}{g}
    {c}的{g}
    {c}
    一片{c}
    一片{c}，什么都没有
    一张{c}的{g}
    纯{c}{g}
    空白的{c}{g}
    空的{c}{g}
    简单的{c}{g}
    只有{c}
    只有{c}{g}
    只要{c}{g}
    只有{c}，没有别的
    全是{c}
    全部都是{c}
    整张图都是{c}
    整个画面都是{c}
    画面全是{c}
    {g}是{c}
    {g}是{c}的
    {g}为{c}
    {g}：{c}
    {g}{c}
    {g}要{c}，别的都不要
    {c}{g}，什么都没有
    {c}{g}，没有东西
    {c}{g}，没有物体
    {c}{g}，空空的
    把整个画面涂成{c}
    用{c}填满画面
    到处都是{c}
    {c}的一面墙
    没有物体，只有{c}
    什么都不画，只要{c}{g}
""")

ZH_EMPTY_SCENE = split("""
    {n}
    {n}
    {n}背景
    {n}的背景
    {n}场景
    {n}风景
    {n}景色
    {n}的景色
    {n}的风景
    一片{n}
    一片{n}，什么都没有
    空旷的{n}
    空空的{n}
    安静的{n}
    美丽的{n}
    无人的{n}
    只有{n}
    只要{n}
    只有{n}，没有别的
    {n}，什么都没有
    {n}，没有人
    {n}，没有东西
    {n}，空无一物
    背景是{n}
    背景：{n}
    背景为{n}，没有别的
    场景是{n}
    画面里是{n}
    画面里只有{n}
    {in}
    {in}什么都没有
    {in}，没有人
    {in}，一个人也没有
    我们{in}
    {in}的景色
    {n}的样子
    {n}真美
    什么都不画，只要{n}
    一张{n}的风景照
""")

ZH_COUNTED = split("""
    {k}{m}
    {k}{m}
    {k}{m}
    {k}{m}
    {m}，{k}
    {m}，一共{k}
    {m}，总共{k}
    {m}（{k}）
    {m}{k}
    {m} {k}
    这{k}{m}
    那{k}{m}
    正好{k}{m}
    刚好{k}{m}
    一共{k}{m}
    总共{k}{m}
    整整{k}{m}
    共有{k}{m}
    一组{k}{m}
    我的{k}{m}
    {k}一样的{m}
    {k}相同的{m}
    {k}不同的{m}
    {m}有{k}
    {m}要{k}
    {m}：{k}
    不多不少{k}{m}
""")
