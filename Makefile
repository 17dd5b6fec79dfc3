# `make help` lists the targets. Everything happens in .venv, which the first target makes.
.DEFAULT_GOAL := help
BIN := .venv/bin
SERVING := .venv/serving
READY := .venv/ready
# Where a host sets it, each process of a parallel test run, and each daemon of a test, compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE
CYTHON := $(wildcard spectrum/*/*.pyx spectrum/*/*.pxd spectrum/*/*/*.pyx)

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(SERVING): pyproject.toml setup.py requirements/run.txt requirements/build.txt scripts/setup $(CYTHON)
	@scripts/setup run

$(READY): $(SERVING) requirements/dev.txt requirements/node/package-lock.json
	@scripts/setup dev

setup: $(READY) ## Make .venv with everything pinned, and compile the engine

run: $(SERVING) ## Serve config/spectrum.yaml, with an example origin to talk to
	@scripts/demo config/spectrum.yaml

test: $(READY) ## Run the tests, without those that are marked as slow
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal --hypothesis-profile=quick -m "not slow"

cover: $(READY) ## Run all tests, and check that each source file is covered by its own (tests/cover.py)
	$(BIN)/python -m tests.cover

check: $(READY) ## Run the linters and the type checker
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH=$(BIN):$$PATH cython-lint $(CYTHON)

format: $(READY) ## Format the Python sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure beside haproxy, nginx and envoy; writes benchmarks/results/
	$(BIN)/python -m benchmarks tcp
	$(BIN)/python -m benchmarks udp
	$(BIN)/python -m benchmarks balancing
	$(BIN)/python -m benchmarks faults
	$(BIN)/python -m benchmarks access
	$(BIN)/python -m benchmarks mmproxy
	$(BIN)/python -m benchmarks tls
	$(BIN)/python -m benchmarks flood
	$(BIN)/python -m benchmarks changes
	$(BIN)/python -m benchmarks api

SOAK_MINUTES ?= 10
soak: $(READY) ## Load for SOAK_MINUTES with reloads, kills, flaps and upgrades; then the relay torture test for 5
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)
	SPECTRUM_SOAK=1 $(BIN)/python -m pytest -o faulthandler_timeout=0 -s tests/e2e/test_torture.py

FUZZ_SECONDS ?= 120
fuzz: $(READY) ## Fuzz every parser, FUZZ_SECONDS each; then the property tests with many more examples
	for target in proxy_protocol simple_proxy_protocol icmp_messages tls_client_hello; do \
		$(BIN)/python -m tests.fuzz $$target tests/fuzz/corpus/$$target -max_total_time=$(FUZZ_SECONDS) || exit 1; done
	$(BIN)/python -m pytest -o faulthandler_timeout=0 --hypothesis-profile=fuzz -m hypothesis

asan: $(READY) ## Build the engine with AddressSanitizer and test it
	scripts/asan

tables: $(READY) ## Write the tables of keys in docs/, and the JSON Schema, from the models
	$(BIN)/python scripts/key_tables.py
	$(BIN)/spectrum schema >config/spectrum.schema.json

docs: $(READY) ## Build docs/ into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(READY) ## Build into dist/: sdist, a wheel for each Python of this machine, a list of the parts (SBOM), hashes
	@scripts/wheels

deb: wheel ## Build into dist/: a Debian package for this machine's release; lintian has to find nothing
	@scripts/debian

image: deb ## Build the container image spectrum-edge (podman, or CONTAINER=docker)
	@scripts/image

PIN := uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11
lock: ## Pin the newest versions of everything: requirements/dev.txt, and of it run.txt and build.txt (needs uv)
	$(PIN) --upgrade --extra acme --extra analytics --extra api --extra ddos --extra traces pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(PIN) -c requirements/dev.txt --extra acme --extra analytics --extra api --extra ddos pyproject.toml -o requirements/run.txt
	$(PIN) -c requirements/dev.txt requirements/build.in -o requirements/build.txt

clean: ## Remove what was built
	rm -rf .venv build dist site *.egg-info $(CYTHON:.pyx=.c)
	find spectrum -name "*.so" -delete

.PHONY: help setup run test cover check format bench soak fuzz asan tables docs wheel deb image lock clean
