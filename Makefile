# Everything one does with a checkout. `make help` lists the targets.
# Nothing is installed outside .venv/ and build/, except Debian packages that are missing (packages.txt).
PYTHON ?= python3
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SECONDS ?= 1800
KERNEL ?= debug

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := build/.installed
SOURCES := $(shell find include src python cmake CMakeLists.txt CMakePresets.json pyproject.toml \
             -type f -not -name '*.pyc' -not -path 'python/zerrow/_bin/*' -not -name '*.so')
CC_SOURCES := $(shell find src python/bindings -name '*.cc' -o -path 'src/*' -name '*.c')
TIDY_SOURCES := $(filter-out %_test.cc %_bench.cc %_fuzz.cc %.c,$(CC_SOURCES))
CC_HEADERS := $(shell find include src python/bindings -name '*.h')

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: all help demo test test-cc test-py test-hostile test-peers test-ranges wheel lint lint-cc lint-cc-recent lint-format lint-py format bench test-asan test-tsan test-kernel \
        bench-kernel simulate-seeds simulate-large FORCE test-kernel-zerrow test-kernel-limits test-kernel-matrix test-kernel-debug fuzz-kernel fuzz docs clean
.DELETE_ON_ERROR:
all: $(INSTALLED)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z][a-z %-]*:.*## /{printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make                       builds and installs into .venv/; .venv/bin/zerrow is the command"

build/.packages: packages.txt
	@scripts/apt_packages.sh
	@mkdir -p build && touch $@

build/.packages-%: packages.txt
	@scripts/apt_packages.sh $*
	@mkdir -p build && touch $@

$(BIN)/python: | build/.packages
	$(PYTHON) -m venv $(VENV)

build/.requirements: pyproject.toml scripts/requirements.py | $(BIN)/python
	@mkdir -p build
	$(BIN)/python scripts/requirements.py >build/requirements.txt
	$(BIN)/pip install --quiet -r build/requirements.txt
	@touch $@

# One tree for the wheel and the C++ tests: build/dev. The tests are built when they are asked for.
$(INSTALLED): build/.packages build/.requirements $(SOURCES)
	@echo "Building Zerrow: a few minutes the first time"
	@$(BIN)/pip install . --quiet --no-deps --no-build-isolation \
	  --config-settings=build-dir=build/dev --config-settings=build.targets=zerrow_packaged \
	  --config-settings=cmake.define.ZERROW_BUILD_TESTS=ON
	@touch $@

demo: $(INSTALLED)  ## run the flights pipeline on real data
	@$(BIN)/python examples/flights/prepare.py
	@$(BIN)/zerrow run -p examples/flights

test: test-cc test-py  ## all tests: C++ and Python

test-cc: $(INSTALLED)  ## the C++ tests
	cmake --build build/dev -j $(JOBS)
	ctest --test-dir build/dev --output-on-failure --timeout 300

RESIDENT_TESTS := commands failing_models outputs process_end project_errors

test-py: $(INSTALLED)  ## the Python tests, against the installed command
	$(BIN)/pytest --quiet
	@echo "and what a command does, done by the resident engine:"
	ZERROW_TEST_ENGINE=resident $(BIN)/pytest --quiet tests/cli $(addprefix tests/e2e/test_,$(addsuffix .py,$(RESIDENT_TESTS)))

SEEDS ?= 1:1000000
SIMULATION := build/dev/src/engine/engine_simulation_test

$(SIMULATION): $(INSTALLED) FORCE
	@cmake --build build/dev -j $(JOBS) --target engine_simulation_test

simulate-seeds: $(SIMULATION)  ## the simulation with SEEDS (1:1000000), FROM:COUNT: hours
	ZERROW_TEST_SEEDS=$(SEEDS) nice $(SIMULATION) --gtest_filter=Simulation.EveryPromise*

simulate-large: $(SIMULATION)  ## the simulation with ten runs of 100,000 models at once, four times
	ZERROW_TEST_SIZE=10:100000 ZERROW_TEST_LARGE_SEEDS=1:4 nice $(SIMULATION) --gtest_filter=Simulation.Large*

test-hostile: $(INSTALLED)  ## ten thousand hostile functions in a row (slow)
	ZERROW_TEST_HOSTILE=10000 $(BIN)/python -m pytest -q tests/engine/test_hostile.py -k many

test-peers: $(INSTALLED)  ## parts of numpy's, pandas' and pyarrow's own tests inside workers
	@$(BIN)/python tests/peers/run.py

wheel: $(INSTALLED)  ## a wheel for this Python, in dist/
	@rm -rf dist
	@$(BIN)/pip wheel . --quiet --no-deps --no-build-isolation --wheel-dir dist \
	  --config-settings=build-dir=build/dev --config-settings=build.targets=zerrow_packaged \
	  --config-settings=cmake.define.ZERROW_BUILD_TESTS=ON

test-ranges: wheel  ## the wheel with the oldest and newest versions of what it depends on (slow)
	@$(BIN)/python scripts/wheel_ranges.py dist/*.whl

lint: lint-py lint-cc  ## clang-format, clang-tidy, ruff, mypy, pyright

lint-py: build/.requirements  ## ruff, mypy, and pyright over what users would write
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python scripts/check_types.py

# Only what changed is checked again: each file leaves a stamp.
lint-cc: lint-format build/lint/compile_commands.json  ## clang-format and clang-tidy
	@$(MAKE) --no-print-directory --output-sync -j $(JOBS) $(patsubst %,build/lint/%.tidy,$(TIDY_SOURCES))

RECENT := 25

lint-cc-recent:  ## the same, clang-tidy on what the last RECENT (25) commits changed
	@$(MAKE) --no-print-directory lint-cc TIDY_SOURCES="$$(git diff --name-only --diff-filter=d \
	  $$(git rev-list --max-count=$(RECENT) HEAD | tail -1) -- $(TIDY_SOURCES) | xargs)"

lint-format: build/.packages-lint  # clang-format
	@clang-format-14 --dry-run -Werror $(CC_SOURCES) $(CC_HEADERS)

# Without the precompiled header: clang-tidy would go through all of it for each file, which costs
# more than to parse what the file includes.
build/lint/compile_commands.json: $(INSTALLED)
	@mkdir -p $(@D)
	@sed 's# -Winvalid-pch -include [^ ]*cmake_pch.hxx##' build/dev/compile_commands.json >$@

build/lint/%.tidy: % .clang-tidy $(CC_HEADERS) | build/lint/compile_commands.json
	@mkdir -p $(@D)
	@echo "clang-tidy $<"
	@scripts/clang_tidy.sh $<
	@touch $@

format: build/.packages-lint build/.requirements  ## rewrite all sources in the project's format
	clang-format-14 -i $(CC_SOURCES) $(CC_HEADERS)
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

bench: $(INSTALLED)  ## all benchmarks (hours; one of them: make bench-NAME)
	cmake --build build/dev -j $(JOBS)
	@for bench in $$(find build/dev -name '*_bench' -type f -perm -u+x | sort); do echo "== $$bench"; $$bench || exit 1; done
	@for name in produce_consume handover resharing content_reshare texts libraries startup planning resident shared_inputs decache dictionaries sql_operators limits limits_parallel limits_policies optimum hostile; do $(BIN)/python bench/$$name.py || exit 1; done

bench-%: $(INSTALLED)  ## one of bench/*.py, its options in ARGS
	@$(BIN)/python bench/$*.py $(ARGS)

bench-kernel: build/.packages-test-kernel $(INSTALLED)  ## the kernel module's figures, in a virtual machine (slow)
	@COUNTED=1 MEMORY=3G kernel/vm/run.sh debian 7200 bench figures:paper_table:--repeats:1 figures:allocators

test-asan test-tsan: build/.packages build/.requirements  ## the C++ tests under a sanitizer
	cmake --preset $(@:test-%=%) -DPython_EXECUTABLE=$(abspath $(BIN))/python >/dev/null
	cmake --build build/$(@:test-%=%) -j $(JOBS) --target zerrow_tests
	ctest --test-dir build/$(@:test-%=%) --output-on-failure --timeout 600

test-kernel: build/.packages-test-kernel $(INSTALLED)  ## the kernel module's tests, in a virtual machine
	@cmake --build build/dev -j $(JOBS) --target shm_test worker_test shim_test shim_preload_test
	@kernel/vm/test.sh debian

test-kernel-matrix: build/.packages-test-kernel build/.packages-test-kernel-matrix $(INSTALLED)  ## the same on each kernel that the module is for (slow)
	@cmake --build build/dev -j $(JOBS) --target shm_test worker_test shim_test shim_preload_test
	@for kernel in debian debian-6.12; do kernel/vm/test.sh $$kernel || exit 1; done

test-kernel-zerrow: build/.packages-test-kernel $(INSTALLED)  ## the flights demo on the module, compared with other backends (slow)
	@$(BIN)/python examples/flights/prepare.py
	@kernel/vm/run.sh debian 3600 flights

test-kernel-limits: build/.packages-test-kernel $(INSTALLED)  ## memory limits with cgroups v2, in a virtual machine (slow)
	@MEMORY=3G kernel/vm/run.sh debian 3600 budgets

test-kernel-debug: build/.packages-test-kernel-debug  ## the same with kernels that check themselves, 6.1 and 6.12 (slow)
	@for kernel in debug debug-6.12; do kernel/vm/test.sh $$kernel || exit 1; done

fuzz-kernel: build/.packages-test-kernel-debug  ## the module's fuzzer for SECONDS (1800) on KERNEL (debug; debug-6.12)
	@kernel/vm/run.sh $(KERNEL) $$((2 * $(SECONDS) + 1800)) fuzz:-t:$(SECONDS)

fuzz: build/.packages-fuzz build/.requirements  ## each fuzz target for FUZZ_SECONDS (60)
	cmake --preset fuzz -DPython_EXECUTABLE=$(abspath $(BIN))/python >/dev/null
	cmake --build build/fuzz -j $(JOBS)
	@$(BIN)/python scripts/fuzz_corpus.py build/fuzz/corpus
	@for fuzz in $$(find build/fuzz -name '*_fuzz' -type f -perm -u+x | sort); do \
	  $$fuzz -max_total_time=$(FUZZ_SECONDS) build/fuzz/corpus/$$(basename $$fuzz) || exit 1; done

docs: $(INSTALLED)  ## docs/cli.md from the command's own help, the project file's schema from its types
	$(BIN)/python scripts/cli_docs.py >docs/cli.md
	$(BIN)/python scripts/project_schema.py >docs/zerrow_project.schema.json

clean:  ## remove what was built (keeps .venv)
	rm -rf build python/zerrow/_bin python/zerrow/*.so
