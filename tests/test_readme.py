"""The README's commands, each run for real against `make run`, in the README's order."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.servers import until
from zing import config, dialects

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/running.md", "docs/dialects.md", "docs/operate.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
FIRST, NAMES, *REST = BLOCKS
DRAWN = {
    "evolink.webp": (1280, 720, "WEBP"),
    "kie.png": (1024, 1024, "PNG"),
    "tensorslab.png": (720, 1280, "PNG"),
    "zimageturbo.jpeg": (1152, 864, "JPEG"),
    "cat.png": (1280, 720, "PNG"),
    "heart.png": (640, 480, "PNG"),
    "star.webp": (1024, 1024, "WEBP"),
    "mine.png": (1024, 1024, "PNG"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """This environment's `zing` first on the path, a data folder and a port of our own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PORT": str(port),
        "ZING_DATA": str(folder / "data"),
        "CHECKPOINT": str(ROOT / "src" / "zing" / "engine" / "builtin"),
    }


@pytest.fixture(scope="module")
def served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """What `make run` printed when it was ready; it runs until the module's end."""
    ours = Path(sys.prefix) == ROOT / ".venv"
    command = ["make", "run"] if ours else ["zing", "serve", "--port", environment["PORT"]]
    log = folder / "run.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        until(lambda: "zing ready" in log.read_text() or process.poll() is not None, 300)
        yield log.read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_block_is_the_two_commands() -> None:
    commands = [line.partition(" #")[0].rstrip() for line in FIRST.splitlines()]
    assert commands == ["make run", "make test"]


def test_make_run_says_where_it_is_and_what_to_type(
    served: str, environment: dict[str, str], folder: Path
) -> None:
    key = (folder / "data" / "first-key").read_text().strip()
    assert f"zing ready http://127.0.0.1:{environment['PORT']}" in served
    assert key in served
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    printed = re.search(r"^curl .*?(?<!\\)$", served, flags=re.MULTILINE | re.DOTALL)
    assert printed
    assert '"status":"pending"' in run(printed[0], folder, environment)


@pytest.mark.parametrize("block", REST, ids=lambda block: block.split("\n")[0][:40])
def test_a_block_works(block: str, folder: Path, environment: dict[str, str], served: str) -> None:
    assert "zing ready" in served
    if "curl" in block and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    run(NAMES + block, folder, environment)
    for name in re.findall(r"-o (\S+\.(?:png|webp|jpeg))", block):
        with Image.open(folder / name) as picture:
            assert (*picture.size, picture.format) == DRAWN[name]
            assert len(picture.convert("RGB").getcolors(2**24) or ()) > 10


def test_a_file_of_prompts_becomes_a_folder_of_pictures(folder: Path) -> None:
    prompts = (folder / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert len(list((folder / "pictures").glob("*.png"))) == len(prompts)


def test_make_test_reaches_the_tests(folder: Path, environment: dict[str, str]) -> None:
    script = f"cd {ROOT} && make -n test"
    assert "-m pytest" in run(script, folder, environment)


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]


def test_every_setting_is_on_the_page_about_running() -> None:
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    settings = [value for value in vars(config).values() if isinstance(value, config.Setting)]
    assert len(settings) > 10
    assert not [each.variable for each in settings if f"`{each.variable}`" not in page]


def test_every_address_is_on_the_page_about_the_apis() -> None:
    page = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    addresses = [f"{each.method} {each.path}" for one in dialects.ALL for each in one.ROUTES]
    assert not [address for address in addresses if f"`{address}`" not in page]


# How many facts of the providers stand in each section: what is deleted is noticed.
FACTS = {
    "1 side by side": 22,
    "2.1.1 EvoLink, submit": 17,
    "2.1.2 EvoLink, query": 13,
    "2.1.3 EvoLink, HTTP errors": 13,
    "2.1.4 EvoLink, the rest": 11,
    "2.2.1 kie.ai, submit": 7,
    "2.2.2 kie.ai, recordInfo": 9,
    "2.2.3 kie.ai, codes": 14,
    "2.2.4 kie.ai, the rest": 6,
    "2.2.5 kie.ai, callback": 5,
    "2.3 TensorsLab": 19,
    "2.4 zimageturbo.ai": 16,
    "2.5 ratios to pixels": 1,
}


def proof() -> dict[str, list[str]]:
    """The rows of the page about the APIs that name tests, by section; each fact once."""
    page = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
    _, _, sections = page.partition("## Every fact and its test")
    found = {}
    for section in sections.split("\n### ")[1:]:
        title, _, table = section.partition("\n\n| what | tests |\n|---|---|\n")
        found[title] = table.splitlines()
    return found


def test_every_fact_is_on_the_page_about_the_apis() -> None:
    rows = {title: {row.split("|")[1] for row in table} for title, table in proof().items()}
    assert {title: len(facts) for title, facts in rows.items()} == FACTS


@pytest.mark.parametrize("title", FACTS)
def test_every_test_that_the_page_about_the_apis_names_is_there(title: str) -> None:
    for row in proof()[title]:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`|GOLDEN\((\w+)\)", row)
        assert named, row
        for file, test, golden in named:
            if golden:
                assert (ROOT / "tests" / "golden" / f"{golden}.json").exists(), row
            else:
                source = (ROOT / "tests" / file).read_text(encoding="utf-8")
                assert re.search(rf"^def {test}\(", source, re.MULTILINE), row
