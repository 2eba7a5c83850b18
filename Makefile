# execd: `make run` and `make test` need only python3 (3.11 or newer), node and make; apt brings the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run serve test check format bench stalled simulate chaos fuzz planted-bugs lock clean diagram behaviours

run: $(READY) ## Start execd on its embedded default, run the main job, keep serving.
	$(BIN)/execd serve --run examples/hello.py

serve: $(READY)
	$(BIN)/execd serve

test: $(READY) ## Everything that must hold, on real components; under ten minutes on two cores.
	scripts/system-packages bubblewrap chromium libatomic1 curl jq
	$(BIN)/python -m pytest

check: $(READY) ## Format, lint, types, import rules, house rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/check_async.py
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit/test_house_rules.py tests/unit/test_behaviours.py
	$(BIN)/python scripts/draw_states.py --check

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Ratios against real peers, in one run; writes docs/benchmarks.md.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m bench

stalled: $(READY) ## A thousand viewers that never read beside fifty good ones; writes docs/stalled.md.
	$(BIN)/python -m bench.stalled

SEEDS ?= 10000
simulate: $(READY) ## The whole engine in memory on a virtual clock, in SEEDS seeded worlds; with 10000 writes docs/reliability.md.
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

N ?= 200
chaos: $(READY) ## The real server, killed N times under load, then the other troubles; writes docs/chaos.md.
	scripts/system-packages bubblewrap gcc libc6-dev
	$(BIN)/python -m chaos --kills $(N)

MINUTES ?= 10
fuzz: $(READY) ## The real server, and requests with something wrong in them at every door; writes docs/fuzz.md.
	scripts/system-packages bubblewrap
	$(BIN)/python -m fuzz --minutes $(MINUTES)

planted-bugs: $(READY) ## Plant bugs one by one and show that the suites catch each.
	$(BIN)/python scripts/planted_bugs.py

diagram: $(READY) ## Redraw the state diagram of docs/architecture.md from the transition table.
	$(BIN)/python scripts/draw_states.py

behaviours: $(READY) ## Write the tests of each behaviour into docs/behaviours.md.
	$(BIN)/python -m tests.behaviours

lock: $(READY) ## Renew the locked dependencies.
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --group bench pyproject.toml -c requirements.lock -o requirements-bench.lock

$(READY): requirements.lock pyproject.toml
	scripts/system-packages bubblewrap python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
