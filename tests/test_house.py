"""The house rules that a tool can check, beyond what ruff and mypy see."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src" / "zing").rglob("*.py"))
LOCKS = [ROOT / "requirements" / "run.txt", ROOT / "requirements" / "dev.txt"]
HEAVY = set(
    "torch rich starlette uvicorn sqlalchemy obstore numpy PIL tokenizers httpx2 httpcore2".split()
)

HELP = """
import sys
sys.argv = ["zing", "--help"]
try:
    from zing.cli import main
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public functions and classes, and the public methods of those classes."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{node.name}.")


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))


def library(requirement: str) -> str:
    return re.split(r"[=<>~!\[]", requirement)[0].strip()


def run_time_libraries() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [library(each) for each in project["dependencies"]]


def development_libraries() -> list[str]:
    lines = (ROOT / "requirements" / "dev.in").read_text().splitlines()
    return [library(line) for line in lines if not line.startswith(("#", "-"))]


def banned() -> set[str]:
    """The ways out of the machine that only the door may use."""
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    return set(ruff["flake8-tidy-imports"]["banned-api"])


# Methods that reach out on an object, which a table of imports cannot see.
REACHING = set("connect_ex sendto sendmsg create_connection open_connection sock_connect".split())
REACHING |= set("create_datagram_endpoint connect_tcp".split())


def ways_out(source: str) -> list[str]:
    """Where a module's source imports or calls what goes out of the machine."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if is_banned(each.name)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{each.name}" for each in node.names]
            found += [name for name in names if is_banned(name)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            # A socket's `connect` is given where to; a database's is not.
            if name in REACHING or (name == "connect" and (node.args or node.keywords)):
                found.append(ast.unparse(node.func))
    return found


def is_banned(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in banned())


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    shown, _, loaded = done.stdout.partition("loaded: ")
    assert "generate" in shown
    assert not HEAVY & set(loaded.split())


def test_imports_respect_the_levels() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_door_leads_out_of_the_machine() -> None:
    leading = {
        path.relative_to(ROOT / "src" / "zing"): ways_out(path.read_text()) for path in MODULES
    }
    assert {str(path) for path, found in leading.items() if found} == {"netguard.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import httpx2",
        "import os, requests",
        "import urllib.request as x",
        "from urllib import request",
        "from urllib.request import urlopen",
        "from http.client import HTTPSConnection",
        "from socket import create_connection",
        "def late():\n    import smtplib",
        "import socket\nsocket.create_connection(('a', 1))",
        "import socket\nsocket.socket().connect(('a', 1))",
        "s.connect_ex(address)",
        "s.sendto(b'', address)",
        "await_ = loop.sock_connect(s, address)",
        "asyncio.open_connection('a', 1)",
        "loop.create_datagram_endpoint(x)",
    ],
)
def test_another_way_out_of_the_machine_would_be_seen(source: str) -> None:
    assert ways_out(source)


def test_what_stays_on_the_machine_is_no_way_out() -> None:
    listener = "import socket\nsocket.create_server(('127.0.0.1', 0)).accept()"
    harmless = "from urllib.parse import urlsplit\nfrom http import HTTPStatus\nengine.connect()"
    assert not ways_out(listener)
    assert not ways_out(harmless)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_and_public_name_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    bare = [name for name, node in public(tree.body) if not ast.get_docstring(node)]
    assert ast.get_docstring(tree)
    assert not bare


def test_no_work_is_left_in_comments() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    folders = [ROOT / name for name in ("src", "training", "bench", "tests", "requirements")]
    paths = [path for each in folders for kind in ("*.py", "*.sh") for path in each.rglob(kind)]
    assert paths
    assert not [named(path) for path in paths if words.search(path.read_text())]


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_a_lock_pins_every_library_with_hashes(lock: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_a_lock_names_no_host_no_path_and_no_gpu_library(lock: Path) -> None:
    text = lock.read_text()
    for word in ("://", "-index-url", "--find-links", "--trusted-host", "nvidia", "triton", "@ "):
        assert word not in text
    assert not re.search(r"(^|[\s=])/\w", text)
    assert not pins(lock).keys() & {"torch", "pip"}


def test_the_development_lock_contains_the_run_lock() -> None:
    run, dev = map(pins, LOCKS)
    assert run.items() <= dev.items()


def test_every_declared_library_is_locked() -> None:
    run, dev = map(pins, LOCKS)
    assert set(run_time_libraries()) <= run.keys() | {"torch"}
    assert set(development_libraries()) <= dev.keys()


def test_every_declared_library_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "decisions" / "0002-libraries.md").read_text()
    table = "".join(line for line in reasons.splitlines() if line.startswith("|"))
    for name in [*run_time_libraries(), *development_libraries(), "hatchling"]:
        assert re.search(rf"\b{name}\b", table), name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_target_that_a_page_names_exists(page: str) -> None:
    named_targets = set(
        re.findall(r"\bmake ([a-z][a-z-]+)`|^make ([a-z-]+)", (ROOT / page).read_text())
    )
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {first or second for first, second in named_targets} <= targets


def test_every_test_that_the_security_page_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    whole = set(re.findall(r"\b(test_\w+)(?!\w|::)", page))
    files = {path.stem: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    named_tests = re.findall(r"\b(test_\w+)::(test_\w+)", page)
    assert len(named_tests) > 40
    assert not [each for each in named_tests if f"def {each[1]}(" not in files.get(each[0], "")]
    assert not whole - files.keys() - {test for _, test in named_tests}
    incidents = re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)
    assert incidents == [str(number) for number in range(1, 33)]
