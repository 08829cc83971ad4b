# What people type. Each target is one line of help; the long parts are in requirements/ and .ci/.
.DEFAULT_GOAL := help
.PHONY: help run setup test test-long check fmt bench train train-eval lock wheel clean

python := .venv/bin/python
bin := .venv/bin
code := src tests $(wildcard training bench)
typed := src/zing $(wildcard training bench)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

PORT ?= 8000

run: ## set up what running needs and serve on PORT (8000)
	@requirements/install.sh run
	@exec $(bin)/zing serve --port $(PORT)

setup: ## set up what running, testing and training need
	@requirements/install.sh dev

test: setup ## run the tests
	@$(python) -m pytest -n auto --dist loadfile $(ARGS)

test-long: setup ## run the tests that take minutes
	@$(python) -m pytest -m long $(ARGS)

check: setup ## formatting, lint, types and the fences between modules
	@$(bin)/ruff format --check --quiet $(code) || { echo "Not formatted: run 'make fmt'."; exit 1; }
	@$(bin)/ruff check --quiet $(code)
	@$(python) -m mypy $(typed)
	@$(bin)/lint-imports --no-logo

fmt: setup ## format the code and sort its imports
	@$(bin)/ruff check --select I --fix --quiet $(code)
	@$(bin)/ruff format $(code)

bench: setup ## measure: a card, then one line of JSON
	@$(python) -m bench $(ARGS)

train: setup ## make the built-in model anew; goes on where it stopped
	@$(python) -m training $(ARGS)

train-eval: setup ## measure the built-in model
	@$(python) -m training evaluate $(ARGS)

wheel: setup ## build dist/zing-*.whl, the built-in model inside
	@$(python) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls -sh dist/*.whl

# torch has no hash here because its builds differ from machine to machine: docs/decisions/0003.
pip_compile := CUSTOM_COMPILE_COMMAND="make lock" $(bin)/pip-compile --quiet --generate-hashes \
	--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--no-emit-options --no-allow-unsafe --unsafe-package torch --unsafe-package pip

lock: setup ## write requirements/*.txt and bench/peers.txt anew (ARGS=--upgrade takes newer versions)
	@$(pip_compile) $(ARGS) --build-deps-for editable --extra pg -c requirements/torch.txt \
		-o requirements/run.txt pyproject.toml
	@sed -i.old '/^# WARNING/,$$d' requirements/run.txt
	@$(pip_compile) $(ARGS) -o requirements/dev.txt requirements/dev.in
	@sed -i.old '/^# WARNING/,$$d' requirements/dev.txt
	@$(pip_compile) $(ARGS) -o bench/peers.txt bench/peers.in
	@sed -i.old '/^# WARNING/,$$d' bench/peers.txt
	@rm requirements/*.old bench/*.old

clean: ## remove what was built and the environment; a training's state stays
	@rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests training bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
