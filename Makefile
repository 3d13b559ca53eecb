# recode: every command a contributor needs. `make` alone lists them.
.PHONY: help setup demo cluster cluster-demo cluster-hybrid cluster-hybrid-up test build chaos planted fidelity evidence bench tools clean
PYTHON ?= python3
SEEDS ?= 1000
FROM ?= 0

help:           ## This list
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup:          ## Fetch what is missing (FFmpeg, a linker); quick when nothing is
	@$(PYTHON) scripts/setup.py

build: setup    ## Build the release binaries
	cargo build --release --locked --package recode-client --package recode-coordinator --package recode-node --package recode-sandbox --package recode-bench

demo: setup     ## Transcode a sample in Segments, score it, say where the result is
	@scripts/demo.sh

test: setup     ## Format, lints, all tests, licences
	@scripts/test.sh

cluster: setup  ## Three coordinators and two nodes on this machine, until Ctrl-C
	@$(PYTHON) cluster/local.py up

cluster-demo: setup ## The same with a job, whose leading coordinator is killed meanwhile
	@$(PYTHON) cluster/local.py demo

cluster-hybrid: setup ## Two sites, one of which reaches only NATS and S3: four nodes, one job, its events over NATS
	@$(PYTHON) cluster/hybrid.py demo

cluster-hybrid-up: setup ## The same, until Ctrl-C
	@$(PYTHON) cluster/hybrid.py up

# One seed is one run where tokio's select! can be seeded.
SIM = RUSTFLAGS="$(RUSTFLAGS) --cfg tokio_unstable" cargo run --profile sim --locked --package recode-sim

chaos:          ## Simulate SEEDS runs of coordinators and ten times as many of the core alone (FROM=first seed)
	$(SIM) -- cluster --seeds $(FROM)..$$(($(FROM) + $(SEEDS)))
	$(SIM) -- core --seeds $$(($(FROM) * 10))..$$((($(FROM) + $(SEEDS)) * 10))

planted:        ## Show that the simulation finds each planted bug (crates/sim/PLANTED.md)
	$(SIM) --features planted -- planted

fidelity: setup ## Judge every file of RECODE_MEDIA with RECODE_JUDGE (ONLY=glob PASS=names JOBS=2)
	@$(PYTHON) bench/fidelity/run.py

evidence:       ## Measure one line of the promises (LINE=1.n to 3.n), or show where all stand
	@$(PYTHON) bench/evidence.py $(if $(LINE),run $(LINE),show)

bench: setup    ## Build and list the benchmarks
	cargo build --release --locked --package recode-bench --package recode-sandbox && $${CARGO_TARGET_DIR:-target}/release/recode-bench --help

tools:          ## Optional: the test runner and the licence check that CI prefers (slow to build)
	cargo install --locked cargo-nextest cargo-deny

clean:          ## Remove what builds and demos left; tools stay
	cargo clean
