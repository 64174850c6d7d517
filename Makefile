# `make demo` and `make test` are all a newcomer needs: each sets up what it lacks.
PYTHON ?= python3
BIN    := .venv/bin
RUST   := $(shell find rust proto -name '*.rs' -o -name '*.toml' -o -name '*.proto') Cargo.toml Cargo.lock
TARGETS := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
HOST    = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ   := snapshot_chunk range_digests replicate_entries routes_delta
DURABILITY ?= Memory
KILLS      ?= 1000
OPERATIONS ?= 1000
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

.PHONY: help build demo test test-rust test-python test-kubernetes test-cluster lint format generate wheel check-wheel \
	bench bench-page \
	fuzz sanitize check-interleavings check-instructions simulate soak soak-kills soak-operations clean

help:
	@echo 'make demo              split, merge and move partitions under load on this machine; loses nothing'
	@echo 'make test              all tests        (make test-rust, make test-python: a part)'
	@echo 'make test-kubernetes   a real kube-apiserver, built once, with the operator under its own Role: conformance, end to end'
	@echo 'make test-cluster      the chart on the cluster that KUBECONFIG names, IMAGE=…: restarts, scaling, kills, cuts under load'
	@echo 'make lint              formatters, linters, types, layers, generated files'
	@echo 'make build             the extension in release mode, into .venv'
	@echo 'make wheel             an abi3 wheel, into dist/'
	@echo 'make check-wheel       that wheel, installed by pip alone where there is no Rust, runs the demo'
	@echo 'make generate          CRDs, protobuf stubs, printed tables and plain YAML, from their sources'
	@echo 'make bench             all benchmarks, into build/bench/*.json and docs/benchmarks.md'
	@echo 'make bench-routing     key lookups beside bisect, numpy, polars and others   (also bench-bulk, bench-partitions, bench-durability, bench-moves, bench-scale)'
	@echo 'make bench-page        docs/benchmarks.md from the JSON that is there'
	@echo 'make fuzz              decoders on made-up input, SECONDS=20 each'
	@echo 'make soak              faults against real processes under load, SECONDS=300, SEED=…, DURABILITY=Memory|Disk'
	@echo 'make soak-kills        workers killed and started again, KILLS=1000; every acknowledged write has to be there'
	@echo 'make soak-operations   splits, merges and moves, an operator killed in each, OPERATIONS=1000, FAULTS=operator-pause …'
	@echo 'make simulate          SEEDS=2000 simulated worlds, all that can go wrong in them; FIRST=0, JOBS=2'
	@echo 'make sanitize          the tests of the Rust core under AddressSanitizer'
	@echo 'make check-interleavings  the Rust node in many orders of its threads   (SCHEDULES=10000: in more)'
	@echo 'make check-instructions   instructions an operation against benches/instructions.json   (UPDATE=1: renews it)'

$(BIN)/maturin: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "dstk needs Python 3.11 or later; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

.venv/.built: $(BIN)/maturin $(RUST)
	$(BIN)/maturin develop --release --quiet --extras all
	touch $@

build: .venv/.built

demo: build
	$(BIN)/dstk demo $(DEMO)

test: test-rust test-python

test-rust:
	cargo test --quiet --workspace --exclude dstk-py

test-python: build
	$(BIN)/pytest -n 2 --dist loadfile

# What has to hold at a real API server as well. What is about workers alone is left to the embedded one.
KUBERNETES_TESTS := tests/realapi tests/integration/conformance tests/e2e \
	--ignore-glob '*/test_failure_table*' --ignore-glob '*/test_node_points*' \
	tests/deploy/test_real_api.py tests/deploy/test_rolling_restarts.py

test-kubernetes: build
	KUBEBUILDER_ASSETS="$$(tests/realapi/binaries/build)" DSTK_TEST_KUBERNETES=1 \
		$(BIN)/pytest -n 2 --dist loadfile $(KUBERNETES_TESTS)

# On whatever cluster KUBECONFIG names; the cluster has to have IMAGE. KUBECTL, HELM: other commands than the usual ones.
# NODE: a command that runs another as root on the only node, for what breaks the cluster itself. NODE_PIDS: a folder
# whose files apiserver and etcd say their processes, which are killed and have to come back by themselves.
test-cluster: build
	IMAGE="$(or $(IMAGE),$(error name the image: make test-cluster IMAGE=…))" \
		HELM="$${HELM:-$$(deploy/helm-binary)}" $(BIN)/pytest -x tests/cluster

simulate: build
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000) --first $(or $(FIRST),0) --jobs $(or $(JOBS),2)

soak: build
	$(BIN)/python -m dstk.testing.soak --seconds $(or $(SECONDS),300) --durability $(DURABILITY) $(if $(SEED),--seed $(SEED))

soak-kills: build
	$(BIN)/python -m dstk.testing.kill_loop --kills $(KILLS)

soak-operations: build
	$(BIN)/python -m dstk.testing.operator_kills --operations $(OPERATIONS) $(if $(SEED),--seed $(SEED)) \
		--durability $(DURABILITY) $(if $(FAULTS),--faults $(FAULTS))

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet -p dstk-core --features shuttle --all-targets -- -D warnings
	cargo clippy --quiet --manifest-path fuzz/Cargo.toml --target-dir $(TARGETS)/fuzz-lint -- -D warnings
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python proto/generate.py --check
	$(BIN)/python -m dstk.api.generate --check
	$(BIN)/python -m dstk.lifecycle.tables --check

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml

generate: build
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python proto/generate.py
	$(BIN)/python -m dstk.api.generate
	$(BIN)/python -m dstk.lifecycle.tables
	$(BIN)/python deploy/render.py

wheel: $(BIN)/maturin
	rm -f dist/dstk-*.whl
	$(BIN)/maturin build --release --quiet --out dist

check-wheel: wheel
	PYTHON=$(PYTHON) deploy/check-wheel dist/dstk-*.whl

# One target a benchmark, which writes build/bench/NAME.json. `make bench` runs them one after another, then the page.
BENCHES := bench-routing bench-bulk bench-partitions bench-durability bench-moves bench-scale
.PHONY: $(BENCHES)

bench:
	$(MAKE) -j1 $(BENCHES) bench-page

# What the benchmarks compare with: nothing else needs it.
.venv/.bench: $(BIN)/maturin
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

bench-routing: build .venv/.bench
	$(BIN)/python benches/routing.py

bench-bulk: build
	$(BIN)/python benches/bulk.py

bench-partitions: build
	$(BIN)/python benches/partitions.py

bench-durability: build
	$(BIN)/python benches/durability.py

bench-moves: build
	$(BIN)/python benches/moves.py

bench-scale: build
	KUBEBUILDER_ASSETS="$$(tests/realapi/binaries/build)" $(BIN)/python benches/scale.py

bench-page: .venv/.bench
	$(BIN)/python benches/page.py

# Sanitizers and coverage are for nightly only in name: the toolchain has them, RUSTC_BOOTSTRAP lets it use them.
$(TARGETS)/tools/bin/cargo-fuzz:
	cargo install --quiet --locked --root $(TARGETS)/tools --version 0.13.2 cargo-fuzz

fuzz: $(TARGETS)/tools/bin/cargo-fuzz
	@for target in $(FUZZ); do \
		log=$(TARGETS)/fuzz-$$target.log; \
		PATH="$(TARGETS)/tools/bin:$$PATH" RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir $(TARGETS)/fuzz $$target -- \
			-max_total_time=$(or $(SECONDS),20) -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			> $$log 2>&1 || { cat $$log; exit 1; }; \
		echo "$$target: $(or $(SECONDS),20) s, $$(sed -n 's/^stat::number_of_executed_units: *//p' $$log) inputs, no crash"; \
	done

sanitize:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
		cargo test --quiet -p dstk-core --lib --tests --target $(HOST) --target-dir $(TARGETS)/sanitize

# SCHEDULES: orders of a case, chosen at random and by PCT each. Its many small files are in memory where they can be.
check-interleavings:
	$(if $(wildcard /dev/shm),TMPDIR=/dev/shm) cargo test --quiet -p dstk-core --features shuttle --test interleavings

check-instructions:
	$(PYTHON) benches/instructions.py $(if $(UPDATE),--update)

clean:
	rm -rf build dist target .venv fuzz/artifacts fuzz/corpus fuzz/target
