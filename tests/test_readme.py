"""The README's commands, each run for real, in the README's order and in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition(" #")[0].rstrip() for line in "".join(BLOCKS).splitlines()]
DRAWN = {"heart.png": (640, 480), "cat.png": (1280, 720), "star.webp": (1024, 1024)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def run(command: str, folder: Path, data: Path) -> str:
    """Run a line in a shell with this environment's `zing`; what it wrote to standard output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ZING_DATA": str(data),
        "CHECKPOINT": str(ROOT / "src" / "zing" / "engine" / "builtin"),
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_block_is_the_two_commands() -> None:
    assert COMMANDS[:2] == ["make run", "make test"]


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_a_command_works(command: str, folder: Path) -> None:
    run(command, folder, folder / "data")
    drawn = re.search(r"-o (\S+)", command)
    if drawn:
        with Image.open(folder / drawn[1]) as picture:
            assert picture.size == DRAWN.get(drawn[1], (1024, 1024))


def test_a_file_of_prompts_becomes_a_folder_of_pictures(folder: Path) -> None:
    prompts = (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert len(list((folder / "pictures").glob("*.png"))) == len(prompts)


@pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="`make run` sets up .venv, and this is another"
)
def test_make_run_draws_a_picture(tmp_path: Path) -> None:
    picture = ROOT / "cat.png"
    picture.unlink(missing_ok=True)
    assert str(picture) in run("make run", ROOT, tmp_path)
    with Image.open(picture) as drawn:
        assert drawn.size == (1280, 720)


def test_make_test_reaches_the_tests(tmp_path: Path) -> None:
    assert "-m pytest" in run("make -n test", ROOT, tmp_path)


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
