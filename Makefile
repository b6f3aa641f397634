# Two commands: `make demo` shows the main job on a real model, `make test` runs everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
# Options of demo and up: PORT=8000 DATA_DIR=.govtrack; of demo: BASE_URL= MODEL= API_KEY_ENV=
OPTS := $(if $(PORT),--port $(PORT)) $(if $(DATA_DIR),--data-dir $(DATA_DIR))
MODEL_OPTS := $(if $(BASE_URL),--base-url $(BASE_URL)) $(if $(MODEL),--model $(MODEL)) $(if $(API_KEY_ENV),--api-key-env $(API_KEY_ENV))
LINT_ENV := GOVTRACK_INSECURE_KEY=1 DATABASE_URL=postgresql://lint@127.0.0.1:1/lint REDIS_URL=redis://127.0.0.1:1/0

.PHONY: bench-live bench-probes bench-recorded help demo demo-check up test faults lint format check-python lock bench-engine bench-watched bench-detection
help:
	@echo "make demo        the whole story on a real model, live (Ctrl-C stops it)"
	@echo "make demo-check  the same, headless; ends by itself with one JSON line"
	@echo "make up          the empty product on the embedded servers"
	@echo "make test        lint and every test"
	@echo "make faults      every kind of fault against a run of 2,000 slots (a quarter of an hour)"
	@echo "make bench-recorded  a silent change that really happened, through the whole product (DATA=)"
	@echo "make bench-engine  the engine beside other tools, about 20 minutes (QUICK=1: two)"

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "GovTrack needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }

# One stamp an extra: a changed lock file installs again, an unchanged one costs nothing. The checkout
# is linked by a .pth file: an editable install would fetch an unpinned build backend.
$(VENV)/.installed-%: requirements-%.lock pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies ($*) …"
	@$(PIP) -r requirements-$*.lock
	@$(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'govtrack_checkout.pth').write_text(str(pathlib.Path.cwd()))"
	@printf '#!%s\nfrom govtrack.cli import main\nmain()\n' "$(abspath $(BIN))/python" > $(BIN)/govtrack && chmod +x $(BIN)/govtrack
	@touch $@

demo: $(VENV)/.installed-demo
	@exec $(BIN)/python -m govtrack.cli demo $(OPTS) $(MODEL_OPTS)

demo-check: $(VENV)/.installed-demo
	@exec $(BIN)/python -m govtrack.cli demo --check

up: $(VENV)/.installed-embedded
	@exec $(BIN)/python -m govtrack.cli up $(OPTS)

test: $(VENV)/.installed-dev lint
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -q $(ARGS)

# Each fault in a run of 2,000 slots; ends with the table and one JSON line.
faults: export GOVTRACK_FAULT_SLOTS ?= 2000
faults: export GOVTRACK_FAULT_ROWS := $(or $(TMPDIR),/tmp)/govtrack-faults.jsonl
faults: $(VENV)/.installed-dev
	@rm -f $(GOVTRACK_FAULT_ROWS)
	@$(BIN)/python -m pytest tests/faults -q >&2; status=$$?; \
	  $(BIN)/python -m tests.faults.table $(GOVTRACK_FAULT_ROWS) || exit 1; exit $$status

# Silent changes of the real model. Records it first (about 40 minutes), then takes ten minutes.
bench-probes: $(VENV)/.installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'gguf>=0.17,<1'
	@$(BIN)/python -m benchmarks.detection.live $(or $(DATA_DIR),.govtrack)/bench-probes

# The product end to end on a real model whose KV cache is switched to q4_0 silently, about six minutes.
bench-live: $(VENV)/.installed-demo
	@$(BIN)/python -m benchmarks.detection.live_product $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LINT_ENV) $(BIN)/mypy apps govtrack
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/djlint templates --lint --quiet
	$(LINT_ENV) $(BIN)/python manage.py makemigrations --check --dry-run
	$(LINT_ENV) SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" $(BIN)/python manage.py check --deploy --fail-level WARNING

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs uv on the PATH. Hashes yes, addresses no.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock
	for extra in embedded "demo --extra embedded" "dev --extra embedded --extra demo"; do \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra $$extra pyproject.toml -o requirements-$${extra%% *}.lock; done

# Detection on recorded and simulated models, about 12 minutes (QUICK=1: two). ARGS: see benchmarks/detection.
bench-detection: $(VENV)/.installed-dev
	@QUICK=$(QUICK) $(LINT_ENV) $(BIN)/python -m benchmarks.detection $(ARGS)

# The whole product on a change that really happened (recordings in DATA), about five minutes.
bench-recorded: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.detection.recorded_product --data $(or $(DATA),../shared/data/llmdrift) $(ARGS)

# The engine beside other tools, about 20 minutes (QUICK=1: two). ARGS: see benchmarks/engine.
bench-engine: $(VENV)/.installed-dev
	@QUICK=$(QUICK) $(BIN)/python -m benchmarks.engine $(ARGS)

# A run of 2,000 cases in Chromium: watched, paused, resumed; about two minutes.
bench-watched: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.engine.watched $(ARGS)
