"""The libraries that are installed have no hole that is publicly known; who knows is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REQUIREMENTS = Path(__file__).parent.parent / "requirements"
HOW = {"run.txt": ["--require-hashes"], "torch.txt": ["--no-deps"]}


def told(output: str) -> list[dict[str, Any]]:
    """What pip-audit says of each library; it skips with a test where it was told nothing.

    pip-audit itself says "No known vulnerabilities found" and ends with 0 where the service that
    it asks knows none of the libraries, as a mirror of PyPI does.
    """
    try:
        libraries: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        pytest.skip("the advisories could not be asked for: no answer that can be read")
    unknown = [each for each in libraries if "skip_reason" in each]
    if unknown and len(unknown) == len(libraries):
        why = unknown[0]["skip_reason"]
        pytest.skip(f"no advisory was looked at, for any of {len(unknown)} libraries: {why}")
    assert not unknown, f"of these nothing is known: {unknown}"
    return libraries


def holes(libraries: list[dict[str, Any]]) -> list[str]:
    """Every hole that is known, with the version that has it no more."""
    return [
        f"{each['name']} {each['version']}: {hole['id']}, fixed in {hole['fix_versions']}"
        for each in libraries
        for hole in each["vulns"]
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", HOW)
def test_no_library_that_runs_has_a_known_hole(name: str) -> None:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", *HOW[name], "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "20", "-r", str(REQUIREMENTS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if "ConnectionError" in done.stderr or "ServiceError" in done.stderr:
        pytest.skip(f"the advisories cannot be reached: {done.stderr.splitlines()[-1][:200]}")
    libraries = told(done.stdout)
    assert libraries, done.stderr
    assert holes(libraries) == []


def answer(*libraries: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(libraries), "fixes": []})


SOUND = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
HOLED = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


def test_a_hole_is_found() -> None:
    assert holes(told(answer(SOUND, HOLED))) == ["c 2: CVE-1, fixed in ['3']"]
    assert holes(told(answer(SOUND))) == []


@pytest.mark.parametrize("output", [answer(UNKNOWN, UNKNOWN), "", "Traceback", "{}"])
def test_where_nothing_is_told_the_test_is_skipped_and_does_not_pass(output: str) -> None:
    with pytest.raises(pytest.skip.Exception):
        told(output)


def test_a_library_of_which_nothing_is_known_is_no_sound_one() -> None:
    with pytest.raises(AssertionError, match="nothing is known"):
        told(answer(SOUND, UNKNOWN))
