"""The bars: what is measured of a checkpoint, what it must reach and what it should."""

from dataclasses import dataclass

from training.judging.prompts import KINDS

APART = 0.03
"""How far English and Chinese may be apart."""

NEAR_CHANCE = 0.01
"""How far a control may be from chance."""


@dataclass(frozen=True)
class Bar:
    """One row of the table.

    kinds, attribute  the prompts and the verdict that is averaged; no kinds: measured otherwise
    must, aim         None where there is no bar
    unit              share, dB, ratio, of 255, MB, s or chance
    """

    label: str
    must: float | None
    aim: float | None
    kinds: tuple[str, ...] = ()
    attribute: str = ""
    unit: str = "share"

    @property
    def low(self) -> bool:
        """Whether less is better."""
        return self.unit in ("MB", "s", "chance")


PSNR = Bar("VAE: PSNR of unseen renders", 28, 31, unit="dB")
VAE_OBJECT = Bar("VAE: the judge's object of unseen renders", 0.97, 0.985, ("vae",), "object")
CONTROL = Bar("control: object, prompts shuffled against scenes", None, None, unit="chance")
SHARPNESS = Bar("sharpness: Laplacian variance, of the render's", 0.35, 0.6, unit="ratio")
SEEDS = Bar("two seeds of one open prompt: mean difference", 4, None, unit="of 255")
FILES = Bar("files in all", 25, 20, unit="MB")
SECONDS = Bar("processor time of 1024x1024, prompt to pixels", 3, 1.5, unit="s")

JUDGED = (
    Bar("object right, training grammar", 0.92, 0.97, ("grammar",), "object"),
    Bar("shape and colour both right", 0.95, 0.98, ("shapes",), "shape"),
    Bar("count right", 0.93, 0.97, ("count",), "count"),
    Bar("background right when said", 0.97, 0.99, ("grammar", "count", "position"), "background"),
    Bar("position right", 0.95, 0.98, ("position",), "position"),
    Bar("all attributes right together", 0.85, 0.92, ("grammar",), "all"),
    Bar("wording never seen: all attributes", 0.80, 0.90, ("wording",), "all"),
    Bar("combinations kept out of training: all attributes", 0.80, 0.90, ("combinations",), "all"),
    Bar("long prompts, 40 to 200 words: object", 0.85, 0.93, ("long",), "object"),
    Bar("two objects both there", 0.70, 0.85, ("pairs",), "object"),
    Bar("two objects: all attributes", None, None, ("pairs",), "all"),
    Bar("all scenes as training mixes them: all attributes", None, None, ("mixed",), "all"),
    *(
        Bar(f"{name.removeprefix('size ')}: object", 0.90, 0.95, (name,), "object")
        for name in KINDS
        if name.startswith("size ")
    ),
)
"""The rows that are shares of prompts."""
