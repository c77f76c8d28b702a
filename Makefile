# `make run` and `make test` do all their own set-up on a fresh machine, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench browser demo screenshots clean

run: $(VENV)/.run-ready
	$(BIN)/python app.py $(ARGS)

# Two files at a time on two cores: with three a page may wait for more than its minute.
test: $(VENV)/.dev-ready browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Retrains the embedded demo and measures it: about 20 minutes on two cores.
demo: $(VENV)/.run-ready
	$(BIN)/python -m demo.train
	$(BIN)/python -m demo.check

# Measures this program beside its peers, on a machine that does nothing else; ARGS=--quick takes the smaller model
# alone, ARGS="--only speeds" one part. llama.cpp has its part where requirements-remote.txt is installed.
bench: $(VENV)/.dev-ready
	$(BIN)/python -m bench $(ARGS)

screenshots: $(VENV)/.dev-ready browser
	$(BIN)/python docs/screenshots.py

# The page's tests want a Chromium; where there is a root and a Debian, it is installed, else they are skipped.
browser:
	@command -v chromium >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	      chromium fonts-noto-color-emoji fonts-noto-cjk >/dev/null; \
	  else echo "No chromium here: the page's tests will say that they were skipped."; fi; }

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run-ready: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.dev-ready: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV)
