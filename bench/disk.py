"""A disk that is slower than this machine's, and what a commit costs on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.load import ROOT

SOURCE = Path(__file__).with_name("slow_sync.c")
COMMITS = 50
# In a process of its own: the library is loaded when a process starts.
COMMIT = """
import json, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE row (number)")
seconds = []
for number in range(int(sys.argv[2])):
    started = time.perf_counter()
    database.execute("INSERT INTO row VALUES (?)", [number])
    seconds.append(time.perf_counter() - started)
print(json.dumps(sorted(seconds)[len(seconds) // 2]))
"""


def slower(milliseconds: float) -> dict[str, str]:
    """The environment of a process whose syncs each take so much longer; none where 0."""
    if not milliseconds:
        return {}
    library = ROOT / "build" / "slow_sync.so"
    library.parent.mkdir(exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": str(round(1000 * milliseconds))}


def sqlite_commit_s(folder: Path, variables: dict[str, str]) -> float:
    """Seconds that SQLite takes to make one row durable there; the median of 50."""
    command = [sys.executable, "-c", COMMIT, str(folder / "commits.db"), str(COMMITS)]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))
