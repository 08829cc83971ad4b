"""Installing: the wheel away from the checkout, and install.sh with a stand-in for Python."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from zing import __version__

ROOT = Path(__file__).parent.parent
BUILTIN = ROOT / "src" / "zing" / "engine" / "builtin"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

# Answers as a Python would that install.sh drives, and keeps a log of what it was asked.
STAND_IN = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
  *version_info*) exit "${OLD:-0}" ;;
  *ensurepip*) exit "${NO_VENV:-0}" ;;
  "-m venv .venv")
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    echo "$(pwd -P)/.venv" >.venv/bin/activate ;;
  *'version("torch")'*) cat .venv/torch 2>/dev/null || exit 1 ;;
  *uninstall*torch*) rm -f .venv/torch ;;
  *install*torch==*,!=*) echo "2.13.0${CUDA_TAG:-}" >.venv/torch ;;
  *install*torch==*+cpu)
    if [ -n "${NO_CPU_BUILD:-}" ]; then echo "No matching distribution found" >&2; exit 1; fi
    echo "2.13.0+cpu" >.venv/torch ;;
  *install*torch==*) echo "${FOUND:-2.13.0}" >.venv/torch ;;
  -V) echo "Python 3.9.2" ;;
esac
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    subprocess.run([*PIP, "wheel", *how, str(ROOT)], check=True)
    return next(folder.glob("zing-*.whl"))


class Checkout:
    """A copy of what install.sh reads, with a stand-in for Python and for nvidia-smi."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        shutil.copytree(ROOT / "requirements", folder / "requirements")
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.write("python", STAND_IN)
        self.gpu(False)

    def write(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def gpu(self, shown: bool) -> None:
        self.write("nvidia-smi", f"#!/bin/sh\nexit {0 if shown else 1}\n")

    def install(self, group: str = "run", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh; self.log then holds what this one call asked of Python."""
        self.log.write_text("")
        kept = {name: value for name, value in os.environ.items() if "ZING" not in name}
        environment = kept | settings
        environment["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment["PYTHON"] = str(self.folder / "bin" / "python")
        environment["LOG"] = str(self.log)
        return subprocess.run(
            [self.folder / "requirements" / "install.sh", group],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> str:
        return self.log.read_text()

    def torch(self) -> str:
        return (self.folder / ".venv" / "torch").read_text().strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def draw(zing: Path, folder: Path, **environment: str) -> dict[str, object]:
    """Draw with an installed `zing` from a folder of its own; what it says as JSON."""
    folder.mkdir()
    done = subprocess.run(
        [zing, "generate", "a cute cat", "--size", "320x256", "-o", "cat.png", "--json"],
        cwd=folder,
        env={**os.environ, "ZING_DATA": str(folder / "data"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(folder / "cat.png") as picture:
        assert picture.size == (320, 256)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_the_wheel_holds_the_checkpoint_and_nothing_but_zing(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    builtin = {path.relative_to(BUILTIN) for path in BUILTIN.rglob("*") if path.is_file()}
    assert {f"zing/engine/builtin/{path.as_posix()}" for path in builtin} <= names
    assert {name.split("/")[0] for name in names} == {"zing", f"zing-{__version__}.dist-info"}
    kept = subprocess.run(
        ["git", "ls-files", "src/zing"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    inside = {name for name in names if name.startswith("zing/")}
    assert not kept or inside == {name.removeprefix("src/") for name in kept}
    # What Python runs by itself at a start, and what is no text and no checkpoint.
    assert not [name for name in names if name.endswith((".pth", ".pyc", ".so", ".exe", ".pkl"))]
    assert wheel.stat().st_size < 30e6


def test_the_installed_wheel_draws_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In a new environment that sees this one's libraries; make test-long installs them too."""
    home = tmp_path / "venv"
    venv.create(home)
    python = home / "bin" / "python"
    subprocess.run(
        [*PIP, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], check=True
    )
    libraries = {"PYTHONPATH": sysconfig.get_path("purelib")}
    where = subprocess.run(
        [python, "-c", "import zing; print(zing.__file__)"],
        cwd=tmp_path,
        env={**os.environ, **libraries},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(home)
    assert draw(home / "bin" / "zing", tmp_path / "elsewhere", **libraries)["model"] == "builtin"


@pytest.mark.long
def test_the_wheel_and_the_locked_libraries_are_enough(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    pip = (str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
    locked = ("--no-deps", "--require-hashes", "-r", str(ROOT / "requirements" / "run.txt"))
    subprocess.run([*pip, "install", "--quiet", *locked], check=True)
    torch = ("-r", str(ROOT / "requirements" / "torch.txt"))
    subprocess.run([*pip, "install", "--quiet", *torch], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    assert draw(home / "bin" / "zing", tmp_path / "elsewhere")["model"] == "builtin"


def test_an_old_python_is_named_in_one_sentence(checkout: Checkout) -> None:
    done = checkout.install(OLD="1")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_venv_is_named_with_its_package(checkout: Checkout) -> None:
    done = checkout.install(NO_VENV="1")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_libraries_are_installed_by_hash_and_torch_apart(checkout: Checkout) -> None:
    done = checkout.install()
    assert done.returncode == 0, done.stderr
    lines = checkout.asked().splitlines()
    locked = next(line for line in lines if "requirements/run.txt" in line)
    assert "--require-hashes" in locked
    assert "--no-deps" in locked
    assert checkout.torch() == "2.13.0+cpu"


def test_a_second_set_up_asks_nothing(checkout: Checkout) -> None:
    assert checkout.install("dev").returncode == 0
    assert checkout.install("dev").returncode == 0
    assert checkout.asked() == ""
    assert checkout.install("run").returncode == 0
    assert checkout.asked() == ""


def test_running_is_not_enough_for_development(checkout: Checkout) -> None:
    checkout.install("run")
    checkout.install("dev")
    assert "requirements/dev.txt" in checkout.asked()


@pytest.mark.parametrize(
    "name", ["requirements/run.txt", "requirements/torch.txt", "pyproject.toml"]
)
def test_a_changed_lock_installs_again(checkout: Checkout, name: str) -> None:
    checkout.install()
    with (checkout.folder / name).open("a") as file:
        file.write("\n")
    checkout.install()
    assert "requirements/run.txt" in checkout.asked()


def test_an_interrupted_set_up_is_done_again(checkout: Checkout) -> None:
    checkout.install()
    (checkout.folder / ".venv" / "zing-run").unlink()
    assert checkout.install().returncode == 0
    assert "requirements/run.txt" in checkout.asked()


def test_a_gpu_takes_the_cuda_build(checkout: Checkout) -> None:
    checkout.gpu(True)
    checkout.install()
    assert "torch==2.13.0,!=2.13.0+cpu" in checkout.asked()
    assert "for cuda" in checkout.install(ZING_TORCH="cuda").stdout


def test_a_wish_replaces_the_torch_that_is_there(checkout: Checkout) -> None:
    checkout.install()
    checkout.install(ZING_TORCH="cuda", CUDA_TAG="+cu130")
    assert checkout.torch() == "2.13.0+cu130"
    checkout.install()
    assert checkout.torch() == "2.13.0+cu130"


def test_without_a_cpu_build_the_large_one_is_announced(checkout: Checkout) -> None:
    done = checkout.install(NO_CPU_BUILD="1")
    assert done.returncode == 0, done.stderr
    assert "ZING_TORCH_INDEX" in done.stdout
    assert checkout.torch() == "2.13.0"


def test_an_index_is_where_torch_comes_from(checkout: Checkout) -> None:
    checkout.install(ZING_TORCH_INDEX="https://wheels.example/cpu")
    torch = next(line for line in checkout.asked().splitlines() if "torch==" in line)
    assert "--index-url https://wheels.example/cpu torch==2.13.0" in torch


def test_another_torch_than_asked_for_is_an_error(checkout: Checkout) -> None:
    done = checkout.install(ZING_TORCH_INDEX="https://wheels.example/cpu", FOUND="2.12.1")
    assert done.returncode == 1
    assert "2.12.1" in done.stderr


def test_an_unknown_build_is_refused_before_anything_is_made(checkout: Checkout) -> None:
    done = checkout.install(ZING_TORCH="tpu")
    assert done.returncode == 1
    assert "ZING_TORCH is cpu or cuda, not tpu." in done.stderr
    assert checkout.asked() == ""
