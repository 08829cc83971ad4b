#!/usr/bin/env bash
# Makes .venv what the lock files say: `install.sh run` or `install.sh dev`. Done before and
# nothing changed: does nothing. Why like this: docs/decisions/0003-installing.md.
#   PYTHON           the Python to build .venv with (python3)
#   ZING_TORCH       cpu or cuda; default: cuda where `nvidia-smi -L` shows a GPU, else cpu
#   ZING_TORCH_INDEX the index that torch comes from; default: as pip is configured
set -euo pipefail
cd "$(dirname "$0")/.."

group=${1:?run or dev}
system_python=${PYTHON:-python3}
python=.venv/bin/python
wish="${ZING_TORCH:-}|${ZING_TORCH_INDEX:-}"

say() { echo "zing: $*"; }
die() { echo "zing: $*" >&2; exit 1; }
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
fingerprint() { { pwd; cat pyproject.toml requirements/*.txt requirements/install.sh; } | cksum; }

# A torch asked for by name replaces another; without a wish the one that is there stays.
torch_as_wished() {
  [ "$wish" = "|" ] || [ "$(cat .venv/zing-torch 2>/dev/null)" = "$wish" ] ||
    [[ $wish = "cpu|" && $(torch_version) = *+cpu ]]
}

done_before() {
  local stamp
  [ -x "$python" ] && torch_as_wished || return 1
  for stamp in .venv/zing-dev ".venv/zing-$group"; do
    [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ] && return 0
  done
  return 1
}

make_venv() {
  # A moved checkout's scripts still point to the old place: made anew.
  if grep -qsF "$(pwd -P)/.venv" .venv/bin/activate && pip --version >/dev/null 2>&1; then return; fi
  command -v "$system_python" >/dev/null || die "Python 3.11 or newer is needed, and $system_python is not here."
  "$system_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is needed; $system_python is $("$system_python" -V 2>&1). PYTHON=... make run names another."
  "$system_python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$system_python cannot make virtual environments (on Debian and Ubuntu: apt-get install python3-venv)."
  rm -rf .venv
  "$system_python" -m venv .venv
  say "made .venv with $("$python" -V)"
}

torch_version() {
  "$python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null
}

# Quiet in a log; on a terminal pip shows how far it is, for the file is large.
pip_torch() {
  if [ -n "${ZING_TORCH_INDEX:-}" ]; then set -- --index-url "$ZING_TORCH_INDEX" "$@"; fi
  if [ -t 1 ]; then pip install --no-compile "$@"; else pip install -q --no-compile "$@"; fi
}

torch_build() {
  if [ -n "${ZING_TORCH:-}" ]; then echo "$ZING_TORCH"
  elif nvidia-smi -L >/dev/null 2>&1; then echo cuda
  else echo cpu; fi
}

install_torch() {
  local pin build errors=.venv/zing-torch-errors
  pin=$(cat requirements/torch.txt)
  if torch_as_wished && [[ $(torch_version) = "${pin#torch==}"* ]]; then return; fi
  build=$(torch_build)
  say "installing ${pin/==/ } for $build"
  pip uninstall -q -y torch 2>/dev/null
  if [ -n "${ZING_TORCH_INDEX:-}" ]; then
    pip_torch "$pin"
  elif [ "$build" = cuda ]; then
    pip_torch "$pin,!=${pin#torch==}+cpu" || die "pip found no CUDA build of torch; ZING_TORCH=cpu takes the CPU build."
  elif [ "$(uname -s)" != Linux ]; then
    pip_torch "$pin"
  elif ! pip_torch "$pin+cpu" 2>"$errors"; then
    grep -q "No matching distribution" "$errors" || die "pip could not install torch: $(cat "$errors")"
    say "pip finds only the large build of torch (several GB with CUDA); ZING_TORCH_INDEX can name the CPU wheel index given on pytorch.org's install page"
    pip_torch "$pin"
  fi
  [[ $(torch_version) = "${pin#torch==}"* ]] || die "torch is $(torch_version), not ${pin#torch==}."
  echo "$wish" >.venv/zing-torch
}

# pip would compile 12,000 files, of which a quarter is ever imported.
compile() {
  local names="zing.server, zing.worker, zing.doctor, zing.engine.local, rich.progress"
  if [ "$group" = dev ]; then names+=", pytest, hypothesis, diffusers.pipelines.z_image.pipeline_z_image"; fi
  env -u PYTHONDONTWRITEBYTECODE "$python" -c "import $names"
}

case $group in run | dev) ;; *) die "install.sh run or install.sh dev, not $group." ;; esac
case ${ZING_TORCH:-} in "" | cpu | cuda) ;; *) die "ZING_TORCH is cpu or cuda, not $ZING_TORCH." ;; esac
done_before && exit 0
start=$SECONDS
make_venv
say "installing what requirements/$group.txt locks"
pip install -q --no-compile --no-deps --require-hashes -r "requirements/$group.txt"
install_torch
pip install -q --no-deps --no-build-isolation --editable .
compile
pip check >/dev/null || die "the libraries do not fit together: $(pip check)"
fingerprint >".venv/zing-$group"
say "ready after $((SECONDS - start)) s (torch $(torch_version))"
