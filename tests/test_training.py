"""The recipe of the built-in model: scenes, captions, tokenizer, every stage resumed, the export.

Small models and a few steps; no test judges what a training reaches.
"""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")


from diffusers import ZImagePipeline  # noqa: E402
from diffusers.models.normalization import RMSNorm  # noqa: E402
from transformers import Qwen2Tokenizer  # noqa: E402

from training import __main__ as main  # noqa: E402
from training import (  # noqa: E402
    captions,
    export,
    latents,
    norms,
    optimizer,
    scenes,
    state,
    text_encoder,
    tokenizer,
    transformer,
    vae,
)
from training.loop import Loop, Plan, Rank, rate_scale  # noqa: E402
from training.scenes import Scene  # noqa: E402
from training.vocabulary import (  # noqa: E402
    COLOUR,
    COLOURS,
    EMOJI,
    OBJECT,
    OBJECTS,
    POSITION,
    POSITIONS,
    SHAPES,
    SIZE,
    SIZES,
)

SQUARE = scenes.NATIVE_SIZES[0]
WIDTHS = (4, 4, 8, 8, 16)
PIECES = dict.fromkeys(scenes.NATIVE_SIZES, 1)


def _has_font() -> bool:
    try:
        return bool(scenes.font_path())
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(
    not _has_font(), reason="needs the Debian package fonts-noto-color-emoji"
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer learned on few captions."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn(tokenizer.corpus(3000, 0)).save_pretrained(folder)
    return folder


# Scenes


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.name))
@pytest.mark.parametrize("size", scenes.NATIVE_SIZES, ids=str)
def test_shape_stands_in_the_middle_in_its_colour(shape: Any, size: scenes.Size) -> None:
    for colour, behind in itertools.pairwise(COLOURS):
        scene = Scene(shape.name, colour.name, background=behind.name)
        picture = scenes.pixels(scene, size)
        assert picture.shape == (size[1], size[0], 3)
        assert tuple(picture[size[1] // 2, size[0] // 2]) == colour.rgb
        assert tuple(picture[0, 0]) == tuple(picture[-1, -1]) == behind.rgb


def test_positions_move_the_object_and_keep_it_inside() -> None:
    for size in scenes.NATIVE_SIZES:
        for side in scenes.SIDES:
            for position, axis, sign in (
                ("left", 1, -1), ("right", 1, 1), ("top", 0, -1), ("bottom", 0, 1),
            ):  # fmt: skip
                scene = Scene("square", "red", background="white", position=position, size=side)
                red = (scenes.pixels(scene, size) == COLOUR["red"].rgb).all(2)
                middle = np.argwhere(red).mean(0) - (np.array(red.shape) - 1) / 2
                assert middle[axis] * sign >= 8
                assert abs(middle[1 - axis]) < 1
                assert not red[0].any()
                assert not red[-1].any()
                assert not red[:, 0].any()
                assert not red[:, -1].any()


def test_shades_differ_by_seed_and_stay_near_the_named_colour() -> None:
    scene = Scene("circle", "red", background="blue")
    pictures = {scenes.pixels(scene, SQUARE, random.Random(k)).tobytes() for k in range(8)}
    assert len(pictures) == 8
    for k in range(50):
        picture = scenes.pixels(scene, SQUARE, random.Random(k)).astype(int)
        assert np.abs(picture[SQUARE[1] // 2, SQUARE[0] // 2] - COLOUR["red"].rgb).max() <= 10


@needs_font
def test_every_emoji_has_a_picture_of_its_own() -> None:
    drawn = {scenes.pixels(Scene(e.name, background="white"), SQUARE).tobytes() for e in EMOJI}
    assert len(drawn) == len(EMOJI)
    empty = np.full((SQUARE[1], SQUARE[0], 3), 250, np.uint8)
    assert empty.tobytes() not in drawn


def test_half_of_the_scenes_are_shapes_on_a_named_background() -> None:
    rng = random.Random(5)
    drawn = [scenes.sample(rng) for _ in range(4000)]
    bar = sum(s.colour is not None and s.background is not None for s in drawn)
    assert 0.45 < bar / len(drawn) < 0.55
    assert all(scene.colour != scene.background or scene.colour is None for scene in drawn)


def test_missing_font_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FONT_PLACES", ())
    with pytest.raises(FileNotFoundError, match="fonts-noto-color-emoji"):
        scenes.font_path()


# Captions


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_captions_use_every_word_of_every_concept(language: str) -> None:
    rng = random.Random(1)
    texts = [captions.caption(scenes.sample(rng), rng, language).lower() for _ in range(40_000)]
    said = "\n".join(texts)
    for concept in (*OBJECTS, *COLOURS, *POSITIONS, *SIZES):
        assert len(getattr(concept, language)) >= 2
        for word in getattr(concept, language):
            assert word in said, f"{word} is never said"


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_captions_say_what_the_scene_is(language: str) -> None:
    rng = random.Random(2)

    def says(text: str, concept: Any) -> bool:
        return any(word in text for word in getattr(concept, language))

    for _ in range(4000):
        scene = scenes.sample(rng)
        text = captions.caption(scene, rng, language).lower()
        assert says(text, OBJECT[scene.object]), (scene, text)
        if scene.colour and scene.colour_said:
            assert says(text, COLOUR[scene.colour]), (scene, text)
        if scene.background:
            assert says(text, COLOUR[scene.background]), (scene, text)
        if scene.position != "centre":
            assert says(text, POSITION[scene.position]), (scene, text)
        if scene.size != "mid":
            assert says(text, SIZE[scene.size]), (scene, text)


def test_cats_can_be_asked_for_in_the_words_of_people() -> None:
    rng = random.Random(3)
    scene = Scene("cat")
    said = {captions.caption(scene, rng, rng.choice(captions.LANGUAGES)) for _ in range(8000)}
    assert {"一只可爱的猫咪", "a cute cat", "cat"} <= said


# Tokenizer


def test_tokenizer_gives_back_captions_and_keeps_han_apart(words: Path) -> None:
    tokens = tokenizer.load(words)
    rng = random.Random(4)
    for _ in range(300):
        text = captions.caption(scenes.sample(rng), rng, rng.choice(captions.LANGUAGES))
        assert tokens.decode(tokens.encode(text).ids, skip_special_tokens=False) == text
    for concept in (*OBJECTS, *COLOURS):
        for word in concept.zh:
            assert len(tokens.encode(word).ids) == len(word)


def test_tokenizer_agrees_with_transformers_and_the_template(words: Path) -> None:
    stock = Qwen2Tokenizer.from_pretrained(words)
    tokens = tokenizer.load(words)
    for text in ("a red circle on a blue background", "一只可爱的猫咪", "Ünknown 龘 🐱 words\n"):
        templated = stock.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        assert templated == tokenizer.templated(text)
        ids = tokens.encode(templated).ids
        assert ids == stock(templated).input_ids
        assert ids[0] == tokens.token_to_id("<|im_start|>")
        assert tokens.decode(ids[-tokenizer.CLOSING_TOKENS :], skip_special_tokens=False) == (
            "<|im_end|>\n<|im_start|>assistant\n"
        )


# The loop


def _text_encoder(words: Path, folder: Path) -> text_encoder.TextEncoderTask:
    return text_encoder.TextEncoderTask(tokenizer.load(words), hidden=32)


def _vae(words: Path, folder: Path) -> vae.VaeTask:
    return vae.VaeTask(_plan("vae"), widths=WIDTHS)


def _decoder(words: Path, folder: Path) -> vae.VaeTask:
    return vae.VaeTask(_plan("decoder"), decoder_only=True, widths=WIDTHS)


def _transformer(words: Path, folder: Path) -> transformer.TransformerTask:
    task = _text_encoder(words, folder)
    torch.manual_seed(0)
    model = transformer.build(32, dim=40, layers=1)
    transformer.initialise(model)
    by_size = {(w, h): torch.randn(8, 16, h // 16, w // 16).half() for w, h in scenes.NATIVE_SIZES}
    drawn = latents.Latents(0, by_size)
    return transformer.TransformerTask(model, task.encoder, task.captions, drawn)


def _plan(stage: str) -> Plan:
    rates = optimizer.Rates(muon=1e-3, adam=1e-3)
    return Plan(stage, steps=4, batch=4, rates=rates, warmup=1, log_every=2, save_every_s=1e9)


@needs_font
@pytest.mark.parametrize("make", [_text_encoder, _vae, _decoder, _transformer])
def test_stage_stopped_and_resumed_is_as_if_unbroken(
    make: Callable[[Path, Path], Any], words: Path, tmp_path: Path
) -> None:
    plan = _plan("stage")
    (tmp_path / "whole").mkdir()
    whole = Loop(plan, make(words, tmp_path), tmp_path / "whole")
    whole.run()
    (tmp_path / "broken").mkdir()
    Loop(plan, make(words, tmp_path), tmp_path / "broken").run(until=2)
    again = Loop(plan, make(words, tmp_path), tmp_path / "broken")
    assert again.progress.step == 2
    again.run()
    one, other = (state.load(loop.path) for loop in (whole, again))
    assert one is not None
    assert other is not None
    assert one.progress.step == other.progress.step == 4
    for part in state.PARTS:
        tensors, others = getattr(one, part), getattr(other, part)
        assert tensors.keys() == others.keys()
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


@needs_font
def test_stopped_loop_saves_and_ends(words: Path, tmp_path: Path) -> None:
    loop = Loop(_plan("stage"), _vae(words, tmp_path), tmp_path)
    loop.stop()
    with pytest.raises(SystemExit, match="step 1, saved"):
        loop.run()
    saved = state.progress(loop.path)
    assert saved is not None
    assert saved.step == 1


@needs_font
def test_ranks_share_a_batch(words: Path, tmp_path: Path) -> None:
    plan = _plan("stage")
    tasks = [_vae(words, tmp_path) for _ in range(3)]
    whole = Loop(plan, tasks[0], tmp_path)._slice(0)
    halves = [Loop(plan, tasks[k], tmp_path, Rank(k, 2))._slice(0) for k in (0, 1)]
    assert [*halves[0].samples, *halves[1].samples] == list(whole.samples)
    assert halves[0].name(1) == halves[1].name(1) == whole.name(1)


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--fresh"):
        state.restore({"a": torch.zeros(1)}, {"b": torch.zeros(1)})


def test_new_work_folder_starts_from_the_committed_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = tmp_path / "builtin"
    committed.mkdir()
    (committed / "model_index.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(main, "BUILTIN", committed)

    def start(work: str, *options: str) -> Path | None:
        return main._start(main._parser().parse_args(["--work", str(tmp_path / work), *options]))

    assert start("one") == start("one", "vae") == committed
    assert start("one", "vae", "--fresh") is None
    assert start("one", "--fresh") is None
    assert start("one") is None


def test_rate_warms_up_and_falls() -> None:
    plan = replace(_plan("stage"), steps=100, warmup=10)
    rates = [rate_scale(step, plan) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == rates[49] == 1
    assert rates[-1] < 0.05


def test_muon_steps_are_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    wide = optimizer.orthogonal(torch.randn(3, 8, 20))
    spread = torch.linalg.svdvals(wide)
    assert wide.shape == (3, 8, 20)
    assert spread.min() > 0.5
    assert spread.max() < 1.5


def test_quick_norms_compute_what_diffusers_computes() -> None:
    torch.manual_seed(0)
    for shape in ((3, 7, 16), (3, 7, 2, 8)):
        norm = RMSNorm(shape[-1], eps=1e-5)
        norm.weight.data.normal_()
        x = torch.randn(shape, requires_grad=True)
        gradients = []
        for compute in (norm, lambda x, norm=norm: norms.Rms.apply(x, norm.weight, 1e-5)):
            y = compute(x)
            gradients.append((y, *torch.autograd.grad(y.square().sum(), (x, norm.weight))))
        for one, other in zip(*gradients, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


# The export


@pytest.fixture(scope="module")
def exported(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of untrained small parts."""
    if not _has_font():
        pytest.skip("needs the Debian package fonts-noto-color-emoji")
    work = tmp_path_factory.mktemp("work")
    tokenizer.learn(tokenizer.corpus(3000, 0)).save_pretrained(work / "tokenizer")
    task = _transformer(words, work)
    task.model.save_pretrained(work / "transformer")
    encoder = _text_encoder(words, work)
    average = {name: weight.detach() for name, weight in encoder.model.named_parameters()}
    text_encoder.export(encoder, average, work / "text_encoder")
    model = vae.build(WIDTHS)
    vae.measure(model, seed=0)
    model.save_pretrained(work / "vae")
    export.assemble(work, work / "export", {"seed": 0})
    return work / "export"


def test_manifest_says_sizes_words_and_licences(exported: Path) -> None:
    manifest = json.loads((exported / "zing.json").read_text(encoding="utf-8"))
    assert manifest["native_sizes"] == [[160, 160], [224, 128], [128, 224]]
    assert {thing["name"] for thing in manifest["vocabulary"]["objects"]} >= {"circle", "cat"}
    assert "Noto Color Emoji" in manifest["licences"]["emoji"]
    assert len(manifest["training"]["recipe_sha256"]) == 64
    assert set(manifest["sha256"]) == {
        path.relative_to(exported).as_posix()
        for path in exported.rglob("*")
        if path.is_file() and path.name != "zing.json"
    }


def test_export_holds_no_path_and_no_pickle(exported: Path) -> None:
    for path in exported.rglob("*"):
        assert path.suffix in {"", ".json", ".safetensors", ".jinja"}
        assert path.stat().st_mode & 0o444 == 0o444
        if path.suffix == ".json":
            assert str(exported.parent) not in path.read_text(encoding="utf-8")


def test_export_loads_in_diffusers_and_draws(exported: Path) -> None:
    pipeline = ZImagePipeline.from_pretrained(exported, dtype=torch.float32)
    kinds = {type(part).__name__ for part in pipeline.components.values()}
    assert kinds == {
        "FlowMatchEulerDiscreteScheduler", "Qwen3Model", "Qwen2Tokenizer",
        "ZImageTransformer2DModel", "AutoencoderKL",
    }  # fmt: skip
    one, again = (_generate(pipeline, "一只可爱的猫咪", seed=1) for _ in range(2))
    assert one.size == SQUARE
    assert one.tobytes() == again.tobytes()


def _generate(pipeline: Any, prompt: str, seed: int) -> Any:
    """One picture as the service would make it: 8 steps, no guidance."""
    return pipeline(
        prompt,
        width=SQUARE[0],
        height=SQUARE[1],
        num_inference_steps=8,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]


def test_measured_latents_have_mean_0_and_variance_1(exported: Path) -> None:
    model = vae.load(exported / "vae")
    pictures = vae.tensor([vae.draw(f"0/measure/{k}", SQUARE, None) for k in range(64)])
    with torch.no_grad():
        found = vae.encode(model, pictures)
    found = (found - model.config.shift_factor) * model.config.scaling_factor
    assert abs(found.mean().item()) < 0.1
    assert abs(found.std().item() - 1) < 0.1


@needs_font
def test_latents_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "PIECE", 32)
    model = vae.build(WIDTHS)
    latents.prepare(model, tmp_path, 0, Rank(), PIECES)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    latents.prepare(model, tmp_path, 0, Rank(), PIECES)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == first
    drawn = latents.load(tmp_path, 0, PIECES)
    scene, found = drawn.draw(SQUARE, random.Random(0))
    assert isinstance(scene, Scene)
    assert found.shape == (16, 10, 10)
