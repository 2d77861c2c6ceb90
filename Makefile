# Everything from a bare clone: each target sets up what it needs in .venv.
PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: serve test test-slow check format clean

serve: $(VENV)/.serve
	$(BIN)/koubo serve --port $(PORT)

test: check
	$(BIN)/pytest

test-slow: check
	$(BIN)/pytest -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Koubo needs Python 3.11 to 3.13; name one with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml requirements.lock
	@echo "Setting up $(VENV) (once)"
	$(PIP) --editable .
	@touch $@

# TensorRT's bindings in two versions, and a TensorRT that builds without a GPU: for tests, on Linux x86_64.
TENSORRT_WHEELS := \
	10:tensorrt_cu13_bindings==10.16.1.11 \
	11:tensorrt_cu13_bindings==11.4.0.106 \
	rtx:onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0

# MediaPipe brings a second OpenCV that needs a display's libraries; the headless one goes on top.
$(VENV)/.dev: $(VENV)/.serve
	@echo "Setting up the development tools in $(VENV) (once)"
	$(PIP) --editable '.[dev]'
	$(PIP) --force-reinstall --no-deps opencv-python-headless
	@for wheel in $(TENSORRT_WHEELS); do \
		$(PIP) --no-deps --upgrade --target $(VENV)/tensorrt/$${wheel%%:*} $${wheel#*:} || \
			echo "No $${wheel#*:} here: the tests that need it are skipped"; \
	done
	@touch $@
