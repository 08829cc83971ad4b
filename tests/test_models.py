"""Models by name: found, described, verified."""

import dataclasses
import json
import unicodedata
from pathlib import Path

import pytest

from tests import checkpoints
from zing import cli, config, models
from zing.errors import BadCheckpoint, UnknownModel


def test_builtin_is_always_there(tmp_path: Path) -> None:
    assert [model.name for model in models.available(tmp_path)] == ["builtin"]
    assert models.find("builtin", tmp_path) == models.builtin()


def test_models_of_the_data_folder_are_found(tmp_path: Path, small: Path) -> None:
    checkpoints.copy(small, tmp_path / "models" / "mine")
    (tmp_path / "models" / "no checkpoint").mkdir()
    assert [model.name for model in models.available(tmp_path)] == ["builtin", "mine"]
    assert models.find("mine", tmp_path).path == tmp_path / "models" / "mine"


def test_folder_is_a_model_too(tmp_path: Path, small: Path) -> None:
    assert models.find(str(small), tmp_path).path == small.resolve()


def test_unknown_name_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="one of builtin"):
        models.find("nothing", tmp_path)


def test_hash_follows_content_and_names_alone(tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    first = models.describe(models.Model("a", small))
    assert models.describe(models.Model("b", copy)).sha256 == first.sha256
    (copy / "README.md").write_text("a card is no part of the checkpoint")
    assert models.describe(models.Model("b", copy)).sha256 == first.sha256
    (copy / "zing.json").write_text("{}")
    assert models.describe(models.Model("b", copy)).sha256 != first.sha256


def test_native_sizes_are_none_without_manifest(small: Path, builtin: Path) -> None:
    assert models.describe(models.Model("small", small)).native_sizes is None
    described = models.describe(models.Model("builtin", builtin))
    assert described.native_sizes
    assert all(side % described.multiple == 0 for size in described.native_sizes for side in size)


def test_the_builtin_model_describes_what_it_draws(builtin: Path) -> None:
    described = models.describe(models.builtin())
    written = json.loads((builtin / "zing.json").read_text(encoding="utf-8"))
    shown = json.loads(json.dumps(dataclasses.asdict(described)))
    for name in ("native_sizes", "vocabulary", "steps", "licences", "about"):
        assert shown[name] == written[name], name
    assert shown["languages"] == ["English", "Chinese"]


def test_the_card_is_the_page_in_the_folder(tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    assert models.describe(models.Model("copy", copy)).card is None
    (copy / "README.md").write_text("what it is")
    assert models.describe(models.Model("copy", copy)).card == str(copy / "README.md")


def test_without_a_manifest_nothing_is_said_of_words(small: Path) -> None:
    described = models.describe(models.Model("small", small))
    assert (described.vocabulary, described.languages) == (None, ())
    assert (described.steps, described.licences) == (None, {})


def shown(capsys: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    """The lines that a person reads of a model."""
    cli.app(["models", "show", str(folder)], standalone_mode=False, prog_name="zing")
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 500])
def test_a_model_is_shown_as_its_card_in_lines_that_fit(
    builtin: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(capsys, builtin)
    text = " ".join(" ".join(lines).split())
    described = models.describe(models.builtin())
    assert described.vocabulary
    for concepts in described.vocabulary.values():
        assert all(f"{each.en[0]} {each.zh[0]}" in text for each in concepts)
    assert {f"{len(listed)} {kind}" for kind, listed in described.vocabulary.items()} <= {
        line[:14].strip() for line in lines
    }
    assert f"{len(described.vocabulary['colours'])} colours" in text
    assert " ".join(described.about.split()) in text
    assert all(f"{width}x{height}" in text for width, height in described.native_sizes or ())
    assert described.sha256 in text
    assert f"{described.bytes / 1e6:.1f} MB" in text
    wide = [line for line in lines if width_of(line) > min(columns, 100)]
    assert all(len(line[15:].split()) == 1 for line in wide), wide  # a hash, a path


def width_of(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "FW" else 1 for each in line)


def test_a_model_without_words_is_shown_as_its_facts(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, small)
    assert [line.split()[0] for line in lines] == [
        "name",
        "path",
        "sha256",
        "multiple",
        "bytes",
        "about",
        "native_sizes",
    ]
    assert lines[-1].endswith("every size is rendered directly")


def test_a_card_shows_what_there_is(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    words = {"dances": [{"name": "tango", "en": ["tango"]}, {"name": "polka", "zh": ["波尔卡"]}]}
    (copy / "zing.json").write_text(json.dumps({"vocabulary": words, "licences": {"all": "CC0"}}))
    (copy / "README.md").write_text("what it is")
    rows = dict(line.split(maxsplit=1) for line in shown(capsys, copy)[1:])
    assert "dances       tango, 波尔卡" in rows["2"]
    assert rows["licence"] == "all: CC0"
    assert rows["card"] == str(copy / "README.md")
    assert rows["native"].endswith("every size is rendered directly")
    assert "steps" not in rows


def manifest(folder: Path, files: dict[str, str]) -> models.Model:
    (folder / "zing.json").write_text(json.dumps({"sha256": files}))
    return models.Model("copy", folder)


def test_recorded_hashes_are_compared(tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    name = "vae/config.json"
    recorded = {name: models.file_sha256(copy / name)}
    assert models.verify_files(manifest(copy, recorded)) == 1
    with pytest.raises(BadCheckpoint, match=r"vae/config\.json is not the file"):
        models.verify_files(manifest(copy, {name: "0" * 64}))


@pytest.mark.parametrize("name", ["gone.json", "../small/model_index.json", "/etc/hostname"])
def test_recorded_file_must_be_inside(tmp_path: Path, small: Path, name: str) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    with pytest.raises(BadCheckpoint, match="is missing"):
        models.verify_files(manifest(copy, {name: "0" * 64}))


def test_another_model_may_not_take_the_name_of_the_builtin(tmp_path: Path, small: Path) -> None:
    checkpoints.copy(small, tmp_path / "models" / "builtin")
    assert models.available(tmp_path) == [models.builtin()]


def test_hash_covers_parts_behind_links(tmp_path: Path, small: Path) -> None:
    copy = tmp_path / "linked"
    copy.mkdir()
    for path in small.iterdir():
        (copy / path.name).symlink_to(path)
    linked, plain = (models.describe(models.Model("a", folder)) for folder in (copy, small))
    assert linked.sha256 == plain.sha256


@pytest.mark.parametrize(
    ("text", "threads"), [("1", 1), ("16", 16), ("auto", config.cpu_threads())]
)
def test_threads_are_parsed(text: str, threads: int) -> None:
    assert config.parse_threads(text) == threads


def test_threads_follow_the_quota(tmp_path: Path) -> None:
    path = tmp_path / "cpu.max"
    for content, expected in (("max 100000", 2**16), ("150000 100000", 1), ("400000 100000", 4)):
        path.write_text(content)
        assert config._quota(path) == expected
    assert config._quota(tmp_path / "absent") == 2**16
    assert config.cpu_threads() >= 1
