"""The command line as a person uses it: the real process, its output, files and exit codes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from zing import __version__

ENVIRONMENT = os.environ | {"ZING_THREADS": "1", "COLUMNS": "100"}


def zing(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, "-m", "zing", *arguments],
        cwd=cwd,
        env=ENVIRONMENT | {"ZING_DATA": str(cwd / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == code, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished


def test_a_picture_from_a_prompt(tmp_path: Path) -> None:
    finished = zing(
        "generate", "一只可爱的猫咪", "--size", "16:9", "-o", "cat.png", "--json", cwd=tmp_path
    )
    result = json.loads(finished.stdout)
    assert finished.stderr == ""
    with Image.open(tmp_path / "cat.png") as image:
        assert image.size == (1280, 720)
        assert len(image.getcolors(2**24) or ()) > 10
    assert result["file"] == "cat.png"
    assert (result["width"], result["height"], result["steps"]) == (1280, 720, 8)
    assert 1 <= result["seed"] < 2**31
    assert result["prompt_tokens"] == result["prompt_tokens_used"]


def test_the_same_seed_draws_the_same_picture_in_another_process(tmp_path: Path) -> None:
    first, again, other = (
        json.loads(
            zing(
                "generate", "cat", "--seed", seed, "--size", "64x64", "--json", cwd=tmp_path
            ).stdout
        )
        for seed in ("7", "7", "8")
    )
    assert first["file"] == "zing-7.png"
    assert first["sha256"] == again["sha256"] != other["sha256"]


def test_one_picture_for_each_line(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle\n\n蓝色的正方形\r\na star\n", "utf-8")
    finished = zing(
        *("generate", "--from", "prompts.txt", "--out", "out/deep", "--size", "64x96", "--json"),
        cwd=tmp_path,
    )
    results = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [result["prompt"] for result in results] == ["a red circle", "蓝色的正方形", "a star"]
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == [
        "0001.png",
        "0002.png",
        "0003.png",
    ]


def test_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "zing", "generate", "a red circle", "-o", "a.png"]
    environment = ENVIRONMENT | {"TERM": "xterm"}
    with subprocess.Popen(
        [*command, "--json"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=slave
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                shown += os.read(master, 4096)
            except OSError:  # the terminal's other end is closed
                break
        assert process.wait() == 0
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["file"] == "a.png"
    os.close(master)
    assert b"loading builtin" in shown
    assert b"a red circle" in shown
    assert b"8/8" in shown


def test_an_own_checkpoint_draws(tmp_path: Path, small: Path) -> None:
    finished = zing(
        *("generate", "cat", "--model", str(small), "--size", "101x76", "--json"), cwd=tmp_path
    )
    result = json.loads(finished.stdout)
    assert result["rendered"] == [104, 80]
    assert result["understood"] is None
    with Image.open(tmp_path / result["file"]) as image:
        assert image.size == (101, 76)


def test_a_picture_tells_how_it_was_made(tmp_path: Path) -> None:
    command = ["generate", "一只可爱的猫咪 🐱", "--size", "65x67", "--seed", "7", "-o", "a.avif"]
    drawn = json.loads(zing(*command, "--json", cwd=tmp_path).stdout)
    told = json.loads(zing("show", "a.avif", "--json", cwd=tmp_path).stdout)
    for fact in ("file", "prompt", "seed", "steps", "model", "width", "height", "prompt_tokens"):
        assert told[fact] == drawn[fact]
    shown = zing("show", "a.avif", cwd=tmp_path).stdout
    assert dict(line.split(maxsplit=1) for line in shown.splitlines()) == {
        "file": "a.avif",
        "format": "AVIF",
        "size": "65x67",
        "bytes": str((tmp_path / "a.avif").stat().st_size),
        "prompt": "一只可爱的猫咪 🐱",
        "seed": "7",
        "steps": "8",
        "model": "builtin",
        "software": f"zing {__version__}",
        "source": "trainedAlgorithmicMedia",
    }


def test_a_picture_that_is_not_to_tell_does_not(tmp_path: Path) -> None:
    zing("generate", "cat", "--size", "64x64", "--no-metadata", "-o", "a.png", cwd=tmp_path)
    shown = zing("show", "a.png", cwd=tmp_path).stdout.splitlines()
    assert shown[1:3] == ["format   PNG", "size     64x64"]
    assert shown[4:] == ["The file does not say how it was made."]


def test_what_a_picture_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("parameters", "\x1b[2J\n\u202ecat\nSteps: 8, Seed: 7, Model: \x07")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=text)
    shown = zing("show", "a.png", cwd=tmp_path).stdout
    assert "prompt   \\x1b[2J\\x0a\\x202ecat\n" in shown
    assert "model    \\x07\n" in shown


def test_words_that_are_understood_are_said(tmp_path: Path) -> None:
    command = ["generate", "a Red circle, 猫", "--size", "64x64", "-o", "a.png"]
    finished = zing(*command, cwd=tmp_path)
    first, second = finished.stdout.splitlines()
    assert first.startswith("a.png  64x64  seed ")
    assert second == "  understood: Red, circle, 猫"
    assert finished.stderr == ""
    result = json.loads(zing(*command, "--json", cwd=tmp_path).stdout)
    assert result["understood"] == ["Red", "circle", "猫"]


def test_a_prompt_without_a_known_word_is_drawn_and_it_is_said(tmp_path: Path) -> None:
    command = ["generate", "quantum gravity", "--size", "64x64", "-o", "a.png"]
    finished = zing(*command, cwd=tmp_path)
    assert len(finished.stdout.splitlines()) == 1
    assert finished.stderr == (
        "The prompt has no word that builtin knows; `zing models show builtin` lists them.\n"
    )
    assert (tmp_path / "a.png").is_file()
    asked = zing(*command, "--json", cwd=tmp_path)
    assert (json.loads(asked.stdout)["understood"], asked.stderr) == ([], "")


def test_cut_prompt_is_said(tmp_path: Path) -> None:
    finished = zing("generate", "猫" * 600, "-o", "a.png", "--size", "64x64", cwd=tmp_path)
    assert re.search(r"The prompt was cut to \d+ of its 60\d tokens\.", finished.stderr)


REFUSALS = {
    "empty prompt": ["generate", ""],
    "long prompt": ["generate", "x" * 2001],
    "control character": ["generate", "a\x07b"],
    "lone surrogate": ["generate", "a\udcffb"],
    "control token": ["generate", "cat<|im_end|>"],
    "size below": ["generate", "x", "--size", "63x1024"],
    "size above": ["generate", "x", "--size", "2049x64"],
    "size with exponent": ["generate", "x", "--size", "1e9x1"],
    "full-width size": ["generate", "x", "--size", "１０２４x１０２４"],
    "negative size": ["generate", "x", "--size", "-1x5"],
    "seed zero": ["generate", "x", "--seed", "0"],
    "seed too large": ["generate", "x", "--seed", "2147483648"],
    "seed a fraction": ["generate", "x", "--seed", "1.5"],
    "no steps": ["generate", "x", "--steps", "0"],
    "unknown model": ["generate", "x", "--model", "nothing"],
    "unknown device": ["generate", "x", "--device", "tpu"],
    "unknown format": ["generate", "x", "-o", "a.gif"],
    "absent folder": ["generate", "x", "-o", "nowhere/a.png"],
    "no prompt": ["generate"],
    "two sources": ["generate", "x", "--from", "prompts.txt"],
    "absent prompts": ["generate", "--from", "prompts.txt"],
    "--out without --from": ["generate", "x", "--out", "pictures"],
    "threads in words": ["generate", "x", "--threads", "many"],
    "threads below one": ["generate", "x", "--threads", "-1"],
    "too many threads": ["generate", "x", "--threads", "100000"],
    "unknown option": ["generate", "x", "--colour", "red"],
    "unknown command": ["paint"],
    "no name": ["models", "show"],
    "model of nobody": ["generate", "x", "--model", "~nobody-of-this-name/x"],
    "name too long to write": ["generate", "x", "-o", "x" * 260 + ".png"],
    "nothing to see": ["generate", "\u200b\ufeff"],
    "escape in a size": ["generate", "x", "--size", "\x1b[2J" * 500],
    "unknown model to show": ["models", "show", "nothing"],
    "nothing to show": ["show", "nothing.png"],
    "a folder to show": ["show", "."],
    "a name that no file has": ["show", "x" * 300],
    "unknown model to verify": ["models", "verify", "nothing"],
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_is_one_sentence_and_exit_code_two(case: str, tmp_path: Path) -> None:
    finished = zing(*REFUSALS[case], cwd=tmp_path, code=2)
    assert finished.stdout == ""
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("zing: ")
    assert lines[0].endswith(".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "kind"), [(["--size", "1x1"], "BadSize"), (["--nothing"], "BadUsage")]
)
def test_refusal_for_a_program_is_json(tmp_path: Path, arguments: list[str], kind: str) -> None:
    finished = zing("generate", "x", *arguments, "--json", cwd=tmp_path, code=2)
    assert json.loads(finished.stdout)["error"]["type"] == kind


def test_a_prompt_that_looks_like_an_option_is_a_prompt(tmp_path: Path) -> None:
    finished = zing("generate", "--size", "1x1", "--", "--json", cwd=tmp_path, code=2)
    assert finished.stdout == ""


def test_a_refused_line_is_named_and_nothing_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\ncat<|im_end|>\n")
    finished = zing("generate", "--from", "prompts.txt", cwd=tmp_path, code=2)
    assert "prompts.txt, line 3:" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


def test_mark_at_the_start_of_a_file_is_no_part_of_its_prompt(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("cat", "utf-8-sig")
    finished = zing(
        *("generate", "--from", "prompts.txt", "--size", "64x64", "--json"), cwd=tmp_path
    )
    assert json.loads(finished.stdout)["prompt"] == "cat"


def test_closed_standard_output_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m zing models list | true; exit ${{PIPESTATUS[0]}}"
    finished = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in finished.stderr


def test_help_without_a_command(tmp_path: Path) -> None:
    assert "generate" in zing(cwd=tmp_path, code=2).stderr


def test_models_list_show_verify(tmp_path: Path) -> None:
    assert "builtin" in zing("models", "list", cwd=tmp_path).stdout
    listed = json.loads(zing("models", "list", "--json", cwd=tmp_path).stdout)
    shown = json.loads(zing("models", "show", "builtin", "--json", cwd=tmp_path).stdout)
    assert listed == [{"name": shown["name"], "path": shown["path"]}]
    assert len(shown["sha256"]) == 64
    assert all(len(size) == 2 for size in shown["native_sizes"])
    assert {"vocabulary", "languages", "steps", "licences", "card"} <= shown.keys()
    assert shown["sha256"] in zing("models", "show", "builtin", cwd=tmp_path).stdout
    assert "builtin is sound" in zing("models", "verify", cwd=tmp_path).stdout
    verified = json.loads(zing("models", "verify", "builtin", "--json", cwd=tmp_path).stdout)
    assert verified["ok"]
    assert verified["values"] > 1_000_000


def test_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    finished = zing("models", "verify", "broken", cwd=tmp_path, code=2)
    assert "broken/model_index.json is missing." in finished.stderr


def test_version_and_help(tmp_path: Path) -> None:
    assert zing("--version", cwd=tmp_path).stdout.startswith("zing ")
    for command in ([], ["generate"], ["show"], ["models"], ["models", "show"], ["doctor"]):
        assert "Usage" in zing(*command, "--help", cwd=tmp_path).stdout
