# Everything that is done with this repository. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv/bin
# The whole workspace is always built at once: its features are then the same for every command, and
# nothing is built twice.
CARGO_FLAGS := --workspace --locked
FROM ?= 0
E2E_BINARY := target/debug/anteroom
WEB_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' 2>/dev/null)

.PHONY: impairment help setup setup-build setup-test web build run test quick check check-format check-rust check-web check-python \
	test-rust test-web e2e e2e-binary bench bench-micro bench-first-frame bench-gateway bench-sfu \
	bench-rehome bench-spread bench-migration chaos nightly clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: setup-build setup-test ## install what is missing: as root, else say exactly what to install

setup-build:
	@scripts/setup build

setup-test:
	@scripts/setup test

web: web/dist/index.html ## build the web client, if its sources changed

web/node_modules/.installed: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES)
	cd web && npm run build
	@touch $@

build: setup-build web ## build target/release/anteroom
	cargo build --release --locked -p anteroom

run: build ## build, start everything and print a join URL
	target/release/anteroom up

test: setup check-format check-web check-python test-rust test-web e2e ## all that CI runs: set-up, lints, tests, end-to-end tests
# Clippy compiles here: beside `cargo clippy` everything would be compiled a second time.
test: export RUSTC_WORKSPACE_WRAPPER := clippy-driver
test: export CLIPPY_ARGS := -D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

quick: setup-build web ## unit tests of all crates, without integration and end-to-end tests
	cargo test $(CARGO_FLAGS) --lib --bins

check: setup web check-format check-rust check-web check-python ## formatting and lints, no tests

check-format:
	cargo fmt --all --check

check-rust: web
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings

check-web: web/node_modules/.installed
	cd web && npm run check

check-python: setup-test
	$(VENV)/ruff check tests
	$(VENV)/ruff format --check tests

test-rust: web
	cargo test $(CARGO_FLAGS)

test-web: web/node_modules/.installed
	cd web && npm test

e2e: setup-test e2e-binary ## end-to-end tests with Chromium and native clients (E2E=... for pytest)
	$(VENV)/pytest -c tests/pytest.ini --rootdir tests $(E2E)

# With the tests, because they decide the features of shared dependencies: see CARGO_FLAGS.
e2e-binary: web
	cargo build $(CARGO_FLAGS) --all-targets
	@test -x $(E2E_BINARY)

bench: ## all benches but those below: target/bench/*.json, below 30 minutes
	@# One that missed a limit does not keep the others from being measured.
	@$(MAKE) --keep-going bench-micro bench-first-frame bench-gateway bench-sfu

bench-micro: setup-test web ## placement, hints for a million rooms, claims in Redis
	$(VENV)/python tests/bench_micro.py

bench-first-frame: setup-test build ## page load to first remote frame
	$(VENV)/python tests/bench_first_frame.py

bench-gateway: setup-test build ## our gateway beside HAProxy and nginx (GATEWAY='--only http,message', --help)
	cargo build --release --locked -p bench
	$(VENV)/python tests/bench_gateway.py $(GATEWAY)

bench-rehome: setup-test build ## kill -9 of a shard: how long until media is back
	$(VENV)/python tests/bench_rehome.py

bench-spread: setup-test build ## one room of 300 over three nodes, one of which is killed
	$(VENV)/python tests/bench_spread.py

bench-migration: setup-test build ## drain: how long media stands still in rooms of 2, 8 and 30
	$(VENV)/python tests/bench_migration.py

bench-sfu: setup-test build ## our media node beside Janus, pion and LiveKit (SFU='--quick', --help)
	scripts/setup bench
	-scripts/peers pion
	-scripts/peers livekit
	cargo build --release --locked -p bench
	$(VENV)/python tests/bench_sfu.py $(SFU)

nightly: ## 100,000 simulated histories of room ownership, and its model
	cargo run --release --locked -p simulator -- --seeds 100000 --from $(FROM)
	cargo run --release --locked -p simulator -- --model 2 --ticks 11 --minutes 60

impairment: setup-test e2e-binary ## browsers on poor lines: no picture stands still for 2 s (not reached in every run)
	E2E_STILLS=1 $(VENV)/pytest -c tests/pytest.ini --rootdir tests tests/e2e/test_impairment.py

chaos: setup-test e2e-binary ## real processes under trouble, 10 minutes (CHAOS='--minutes 60 --seed 1', --help)
	$(VENV)/python tests/chaos.py $(CHAOS)

clean: ## remove what was built (not what setup installed)
	cargo clean
	rm -rf web/dist web/node_modules
	find tests -name __pycache__ -type d -prune -exec rm -rf {} +
