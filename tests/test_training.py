"""The recipe of the built-in model: every stage stopped and resumed, the export.

Small models and a few steps; no test judges what a training reaches.
"""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")


from diffusers import ZImagePipeline  # noqa: E402
from transformers import Qwen2Tokenizer  # noqa: E402

from tests.fonts import needs_font  # noqa: E402
from training import __main__ as main  # noqa: E402
from training import (  # noqa: E402
    export,
    latents,
    optimizer,
    scenes,
    stages,
    state,
    text_encoder,
    tokenizer,
    transformer,
    vae,
)
from training.loop import Loop, Plan, Rank, rate_scale  # noqa: E402
from training.scenes import Scene  # noqa: E402

pytestmark = needs_font

SQUARE = scenes.NATIVE_SIZES[0]
WIDTHS = (4, 4, 8, 8, 16)
PIECES = dict.fromkeys(scenes.NATIVE_SIZES, 1)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer learned on few captions."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn(tokenizer.corpus(3000, 0)).save_pretrained(folder)
    return folder


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
    model = transformer.build(32, dim=48, layers=1)
    transformer.initialise(model)
    by_size = {(w, h): torch.randn(8, 16, h // 16, w // 16).half() for w, h in scenes.NATIVE_SIZES}
    drawn = latents.Latents(0, by_size)
    return transformer.TransformerTask(model, task.encoder, task.captions, drawn)


def _plan(stage: str) -> Plan:
    rates = optimizer.Rates(muon=1e-3, adam=1e-3)
    return Plan(stage, steps=4, batch=4, rates=rates, warmup=1, log_every=2, save_every_s=1e9)


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


def test_stopped_loop_saves_and_ends(words: Path, tmp_path: Path) -> None:
    loop = Loop(_plan("stage"), _vae(words, tmp_path), tmp_path)
    loop.stop()
    with pytest.raises(SystemExit, match="step 1, saved"):
        loop.run()
    saved = state.progress(loop.path)
    assert saved is not None
    assert saved.step == 1


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


# The export


@pytest.fixture(scope="module")
def exported(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of untrained small parts."""
    work = tmp_path_factory.mktemp("work")
    tokenizer.learn(tokenizer.corpus(3000, 0)).save_pretrained(work / "tokenizer")
    tokenizer.fold_case(work / "tokenizer")
    task = _transformer(words, work)
    task.model.save_pretrained(work / "transformer")
    encoder = _text_encoder(words, work)
    average = {name: weight.detach() for name, weight in encoder.model.named_parameters()}
    text_encoder.export(encoder, average, work / "text_encoder")
    model = vae.build(WIDTHS)
    vae.measure(model, seed=0)
    model.save_pretrained(work / "vae")
    export.assemble(work, work / "export", {"seed": 0, "stages": {}})
    return work / "export"


def test_manifest_says_sizes_words_and_licences(exported: Path) -> None:
    manifest = json.loads((exported / "zing.json").read_text(encoding="utf-8"))
    assert manifest["native_sizes"] == [list(size) for size in scenes.NATIVE_SIZES]
    known = manifest["vocabulary"]
    assert "cat" in {thing["name"] for thing in known["things"]}
    assert "circle" in {shape["name"] for shape in known["shapes"]}
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


def test_shipping_replaces_the_parts_and_keeps_the_card(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "old.safetensors").touch()
    (tmp_path / "README.md").write_text("the card", encoding="utf-8")
    export.ship(exported, tmp_path)
    shipped = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert shipped == _files(exported) | {Path("README.md")}
    assert all((tmp_path / path).read_bytes() == (exported / path).read_bytes()
               for path in _files(exported))  # fmt: skip
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "the card"


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_run_takes_the_frozen_parts_from_its_start(exported: Path, tmp_path: Path) -> None:
    run = stages.Run(tmp_path / "work", exported, ranks=1)
    for part in stages.TAKEN:
        assert not run.done(part)
        stages.train(run, part)
        assert run.done(part)
        taken, given = tmp_path / "work" / part, exported / part
        assert _files(taken) == _files(given)
        assert all((taken / path).read_bytes() == (given / path).read_bytes()
                   for path in _files(given))  # fmt: skip


def test_export_counts_the_training_of_the_checkpoint_it_started_from(
    exported: Path, tmp_path: Path
) -> None:
    start, work = tmp_path / "start", tmp_path / "work"
    start.mkdir()
    shutil.copytree(exported.parent, work, ignore=shutil.ignore_patterns("export"))
    vae_before = {"steps": 5, "samples": 160, "minutes": 2.5}
    before = {"training": {"stages": {"vae": vae_before}}}
    (start / "zing.json").write_text(json.dumps(before), encoding="utf-8")
    run = stages.Run(work, start, ranks=1)
    stages.train(run, "export")
    # Shipping replaces what the run started from: what came before is told once and kept.
    shutil.copyfile(work / "export" / "zing.json", start / "zing.json")
    stages.train(run, "export")
    manifest = json.loads((work / "export" / "zing.json").read_text(encoding="utf-8"))
    told = manifest["training"]["stages"]
    assert told["vae"] == vae_before
    assert told["decoder"] == {"steps": 0, "samples": 0, "minutes": 0}


def test_exported_tokenizer_reads_capitals_as_small_letters(exported: Path) -> None:
    stock = Qwen2Tokenizer.from_pretrained(exported / "tokenizer")
    plain = tokenizer.load(exported / "tokenizer")
    for text in ("A Red CAT and two DOGS, by the Sea", "一只猫 HD, 4K", "Zürich and ÉCLAIR"):
        folded = "".join(c.lower() if c.isascii() else c for c in text)
        assert plain.encode(text).ids == plain.encode(folded).ids == stock(text)["input_ids"]
        assert stock(folded)["input_ids"] == stock(text)["input_ids"]


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
    assert found.shape == (16, 16, 16)
