"""Nothing is unpickled: not by our own code, nor by a library while a picture is drawn."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ended, serving, submit

SOURCE = Path(__file__).parent.parent / "src" / "zing"
# Modules that read pickles or the like, or pickle what goes between processes.
READERS = """
pickle _pickle cPickle dill cloudpickle jsonpickle joblib shelve marshal multiprocessing
concurrent.futures.process torch.multiprocessing torch.package torch.serialization torch.hub
pandas sklearn zmq
""".split()

# Notes in a file, for each process, what a pickle asked for: a pickle of any use asks for a class.
HOOK = """
import os, sys

def note(event, arguments, place=os.environ["UNPICKLED"]):
    if event == "pickle.find_class":
        with open(f"{place}/{os.getpid()}", "a") as file:
            print(*arguments, file=file)

sys.addaudithook(note)
open(os.environ["UNPICKLED"] + f"/{os.getpid()}", "a").close()
"""


def unpickling(source: str) -> Iterator[str]:
    """Where a module could read a pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if is_reader(each.name))
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name for name in names if is_reader(name))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("torch.load", "np.load", "numpy.load", "torch.jit.load"):
                yield name
            if name.endswith("ProcessPoolExecutor") or name in ("__import__", "import_module"):
                yield name
            words = {each.arg for each in node.keywords}
            yield from words & {"allow_pickle", "trust_remote_code", "weights_only"}


def is_reader(name: str) -> bool:
    late = {f"torch.{each}" for each in ("load", "jit")} | {"numpy.load"}
    return name in late or any(name == each or name.startswith(f"{each}.") for each in READERS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_reads_pickles(path: Path) -> None:
    assert not list(unpickling(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from pickle import loads",
        "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor()",
        "import multiprocessing.pool",
        "from torch import load",
        "from torch import multiprocessing",
        "import torch\ntorch.load('a')",
        "np.load('a')",
        "array = np.fromfile('a', allow_pickle=True)",
        "load(path, weights_only=False)",
        "def late():\n    import shelve",
        "__import__('pickle')",
    ],
)
def test_one_that_did_would_be_seen(source: str) -> None:
    assert list(unpickling(source))


@pytest.fixture
def hooked(tmp_path: Path) -> dict[str, str]:
    """The environment of processes that note what they unpickle; where, is in it too."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    (tmp_path / "found").mkdir()
    paths = [str(tmp_path / "hook"), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "UNPICKLED": str(tmp_path / "found"),
    }


def noted(hooked: dict[str, str]) -> dict[int, str]:
    """What was unpickled, by process."""
    return {int(each.name): each.read_text() for each in Path(hooked["UNPICKLED"]).iterdir()}


def test_the_hook_notes_a_pickle(hooked: dict[str, str]) -> None:
    script = "import pickle, os; pickle.loads(pickle.dumps(os.path.join))"
    subprocess.run([sys.executable, "-c", script], env=os.environ | hooked, check=True)
    assert list(noted(hooked).values()) == ["posixpath join\n"]


def test_a_service_and_its_worker_unpickle_nothing(hooked: dict[str, str], tmp_path: Path) -> None:
    with serving(tmp_path / "data", **hooked) as server:
        pids = {server.process.pid, server.worker()}
        (link,) = ended(server, submit(server))["results"]
        assert server.http.get(link).status_code == 200
        assert server.end() == 0
    found = noted(hooked)
    assert pids <= found.keys()
    assert not any(found.values()), found
