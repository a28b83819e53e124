# Needs python3 >= 3.11 with venv, make and a network; everything else comes with `make`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
# Where Python keeps no bytecode, every process compiles its libraries anew: twice the time to start.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
STAMP := .venv/.bootstrapped
PROJECTS := $(wildcard packages/*/pyproject.toml services/*/pyproject.toml)
# What `pytest` is given besides its settings, e.g. make test PYTEST="-k delivery": then one process
# runs what is chosen; else all tests run in several, which ARGS are for (python -m tools.shards).
PYTEST ?=
ARGS ?=
# The server of the failure contract: 1.32.0, or the oldest supported one, 1.29.1.
TEMPORAL ?=

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(STAMP): requirements.lock tools/bootstrap $(PROJECTS)
	@tools/bootstrap
	touch $(STAMP)

.PHONY: demo
demo: $(STAMP) ## start everything, run the code review example, show it, stop
	@tools/temporal/ensure >/dev/null
	$(BIN)/stigma demo

.PHONY: test
test: $(STAMP) ## all tests on real Temporal servers, services as processes, with branch coverage
	@tools/temporal/ensure >/dev/null
	if [ -n '$(value PYTEST)' ]; then $(BIN)/pytest -m "not soak" $(PYTEST); else $(BIN)/python -m tools.shards $(ARGS); fi

.PHONY: test-docs
test-docs: $(STAMP) ## the commands of the documents, each run or skipped with its reason
	@tools/temporal/ensure >/dev/null
	$(BIN)/pytest -m docs tests/docs $(PYTEST)

.PHONY: contract
contract: $(STAMP) ## the failure contract, row by row; on the oldest supported server: TEMPORAL=1.29.1
	@temporal=$$(tools/temporal/ensure $(TEMPORAL))
	PATH=$$(dirname $$temporal):$$PATH $(BIN)/pytest -m contract $(PYTEST)

.PHONY: tools-contract
tools-contract: $(STAMP) ## the contract of tools, row by row, on a real server
	@tools/temporal/ensure >/dev/null
	$(BIN)/pytest -m tools_contract $(PYTEST)

.PHONY: conformance
conformance: $(STAMP) ## the workflow language's conformance kit and examples, without a network
	@tools/temporal/ensure >/dev/null
	$(BIN)/pytest tests/conformance $(PYTEST)

.PHONY: soak
soak: $(STAMP) ## long runs: load without leaks
	@tools/temporal/ensure >/dev/null
	$(BIN)/pytest -m soak --timeout=0 -o faulthandler_timeout=0 $(PYTEST)

.PHONY: jq-tests
jq-tests: $(STAMP) ## jq's own tests of expressions: STIGMA_JQ_TESTS is the folder tests of jq-1.8.2
	@$(BIN)/python -m services.zigflow_worker.tests.jq_suite
	$(BIN)/pytest -m soak services/zigflow_worker/tests/test_engine_expressions_suite.py $(PYTEST)

.PHONY: bench
bench: $(STAMP) ## one benchmark: make bench NAME=handshake ARGS="--against REV"
	@test -n "$(NAME)" || { echo "which one? make bench NAME=handshake" >&2; exit 2; }
	tools/temporal/ensure >/dev/null
	$(BIN)/python -m benchmarks $(NAME) $(ARGS)

.PHONY: check
check: $(STAMP) ## format, lint, types, imports, protos, words
	@$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	tools/types
	$(BIN)/lint-imports >.venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	$(BIN)/python -m tools.style
	tools/proto --check
	tools/buf
	test -z "$$(git ls-files uv.lock '**/uv.lock')" || { echo "uv.lock records download addresses: do not track it" >&2; exit 1; }
	echo "check: all clean"

.PHONY: dist
dist: $(STAMP) ## a wheel of each package and service, in dist
	@tools/dist

.PHONY: images
images: $(STAMP) ## the images, on Docker, each checked: make images TAG=...
	@tools/images
	$(BIN)/pytest tests/images $(PYTEST)

.PHONY: test-containers
test-containers: images ## the tests that need the services in containers
	@$(BIN)/pytest tests/containers $(PYTEST)

.PHONY: charts
charts: $(STAMP) ## the Helm charts, on Helm 4 and 3, against Kubernetes' own schemas
	@tools/charts/ensure >/dev/null
	$(BIN)/pytest tests/charts $(PYTEST)

.PHONY: test-cluster
test-cluster: $(STAMP) ## on the cluster of KUBECONFIG: installed, scaled, drained, upgraded under load
	@test -n "$${KUBECONFIG:-}" || { echo "test-cluster: KUBECONFIG is not set: skipped" >&2; exit 0; }
	tools/charts/ensure >/dev/null
	test -z "$${STIGMA_CLUSTER_LOAD:-}" || tools/images
	$(BIN)/pytest -m cluster tests/cluster $(PYTEST)

.PHONY: charts-docs
charts-docs: $(STAMP) ## what follows from the charts' values: schemas and README tables
	@$(BIN)/python tools/charts/generate.py

.PHONY: docs
docs: $(STAMP) ## what follows from protos, settings, commands, metrics and the contract's tests
	@$(BIN)/python -m tools.docs
	$(BIN)/python -m tools.metrics

.PHONY: lock
lock: $(STAMP) ## pin dependencies anew: requirements.lock and one lock a service
	@tools/lock $(ARGS)

.PHONY: proto
proto: $(STAMP) ## generate the stubs from protos/
	@tools/proto

.PHONY: release-data
release-data: $(STAMP) ## what later releases are checked against: tests/releases/<version>
	@tools/temporal/ensure >/dev/null
	tools/release-data

.PHONY: clean
clean: ## remove what make made, .venv and the Temporal binary included
	rm -rf .venv .tools .cache .stigma .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
