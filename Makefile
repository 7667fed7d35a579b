# The project's commands. Each does its own set-up first (`install`), which is quick when nothing has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLUSTER := $(VENV)/cluster
OUT ?= demo
# How much the demo's policy learns from, and how long; it is tried in so many cousins.
PRACTICE ?= --demonstrations 85 --blunders 60 --glances 300 --eye-steps 4400 --steps 1300 --cousins 100

# So often its bundle is tried where nothing is quite as in the simulation.
REALITY ?= --count 24 --films 1

export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test coverage test-cluster lint bench bench-lerobot clean

install: $(STAMP)

$(STAMP): pyproject.toml resources/apt-packages.txt
	@if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then \
	  missing=""; \
	  for package in $$(cat resources/apt-packages.txt); do \
	    dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; \
	  done; \
	  if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo"; else as="ask"; fi; \
	    if [ "$$as" = ask ]; then \
	      echo "System packages are missing. Run this, then the same make command again:"; \
	      echo "  sudo apt-get install -y$$missing"; \
	      exit 1; \
	    fi; \
	    { $$as apt-get update -q && DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -q $$missing; } || \
	      echo "These system packages could not be installed:$$missing. Going on: doctor says what is needed."; \
	  fi; \
	fi
	@test -n "$(PYTHON)" || { echo "No Python found. Install Python 3.11."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Python packages into $(VENV): a few minutes the first time, about 2.5 GB."
	$(BIN)/python -m pip install -qq -e ".[test]"
	@$(BIN)/pocketworld doctor > $(VENV)/doctor.txt 2>/dev/null || { cat $(VENV)/doctor.txt; exit 1; }
	@touch $(STAMP)

# From a scan to a robot; on few demonstrations, so that nobody waits for hours.
demo: install
	$(BIN)/pocketworld reconstruct resources/sample_scan.zip --out "$(OUT)"
	$(BIN)/pocketworld simulate "$(OUT)/sample_scan" --check
	$(BIN)/pocketworld cousins "$(OUT)/sample_scan" --count 24
	$(BIN)/pocketworld train-and-export "$(OUT)/sample_scan" --task "put stick_2 in container_2" --observe rgb \
	  --vary pose appearance light camera physics $(PRACTICE) --anyway --out "$(OUT)/bundle"
	$(BIN)/pocketworld run "$(OUT)/bundle" --robot sim --project "$(OUT)/sample_scan" --fast --seconds 10
	$(BIN)/pocketworld reality-check "$(OUT)/bundle" --project "$(OUT)/sample_scan" $(REALITY)
	@echo
	@echo "Look at the report:   $(OUT)/sample_scan/report.html (open it in a browser)"
	@echo "Play with the scene:  $(BIN)/pocketworld simulate '$(OUT)/sample_scan'"

test: install
	OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -n 2 --dist worksteal

# Not part of `test`, which has to stay short.
coverage: install
	OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -n 2 --dist worksteal --cov --cov-report=term --cov-fail-under=85

# Ray stays out of the environment of the other tests, which see what is said where it is missing.
test-cluster: install
	test -x $(CLUSTER)/bin/python || $(BIN)/python -m venv $(CLUSTER)
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > $(CLUSTER)/base.txt
	cp $(CLUSTER)/base.txt "$$($(CLUSTER)/bin/python -c "import site; print(site.getsitepackages()[0])")/base.pth"
	$(CLUSTER)/bin/python -m pip install -qq -e ".[cluster]"
	OMP_NUM_THREADS=1 $(CLUSTER)/bin/python -m pytest -q tests/simulation/test_cluster.py tests/app/test_cousins_on_a_cluster.py \
	  tests/app/test_demonstrate.py::test_a_cluster_makes_the_same_dataset_though_a_node_dies

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --allow-untyped-calls tests/bench/*.py
	$(BIN)/lint-imports

# Not part of `bench`: it installs LeRobot into an environment of its own, .venv/lerobot-bench.
bench-lerobot: install
	$(BIN)/python tests/bench/lerobot/bench_training.py

bench: install
	@for script in tests/bench/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) "$(OUT)" .mypy_cache .ruff_cache .pytest_cache .coverage htmlcov
