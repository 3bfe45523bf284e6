# Two commands do everything: `make run` and `make test`. Both set up what is missing.

PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test check fuzz faults soak why validate pictures bench kernels format clean tools

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

run: ## collect into flows.db (as root); ARGS="--duration 20" passes options on
	@./setup.sh run
	.venv/bin/estats collect --db flows.db $(ARGS)

test: check ## every check, then every test; as root the kernel tests too; ARGS="-k loss" chooses
	@# Those that load programs into the kernel see one another, so they run one by one. 5: none is
	@# chosen.
	$(PYTHON) -m pytest -n auto -m "not kernel" $(ARGS); others=$$?; \
	$(PYTHON) -m pytest -m kernel $(ARGS); kernels=$$?; \
	[ $$others = 0 -o $$others = 5 ] && [ $$kernels = 0 -o $$kernels = 5 ]

check: tools ## format, lint, types, imports between the rooms, generated files
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	$(PYTHON) -m pyright --pythonpath $(PYTHON)
	.venv/bin/lint-imports
	$(PYTHON) -m bpf.generate --check
	$(PYTHON) -m cli.manual --check

fuzz: tools ## hostile rings, recordings, databases, words and (root) segments, MINUTES=10 in all
	$(PYTHON) -m tests.fuzz $(or $(MINUTES),10)

faults: tools ## kill, stop and starve the collector (as root), write docs/faults.md; ROUNDS=100
	$(PYTHON) -m tests.faults --rounds $(or $(ROUNDS),100) $(ARGS)

soak: tools ## as root: connections, namespaces and processes come and go for HOURS=1, write docs/soak.md
	$(PYTHON) -m tests.soak $(or $(HOURS),1)

validate: tools ## as root: compare each variable with its witnesses, write docs/validation.md and .json
	@rm -f build/validation.json
	$(PYTHON) -m pytest -m kernel tests/kernel --validation build/validation.json $(ARGS); \
	tests=$$?; $(PYTHON) -m tests.kernel.report build/validation.json docs && exit $$tests

why: tools ## as root: make situations that limit a connection, ask estats why, write docs/why.md
	$(PYTHON) -m tests.kernel.why docs

pictures: tools ## draw what the docs show of the screen, write docs/pictures
	$(PYTHON) -m tests.pictures docs

bench: tools ## measure everything (as root), write docs/benchmarks.md; ARGS="ingest" one part
	$(PYTHON) -m bench $(ARGS)

kernels: ## boot Debian's 6.1 and 6.12 kernels, test there, write docs/kernels.md (as root, slow)
	@./setup.sh kernels
	$(PYTHON) -m tests.machines $(ARGS)

format: tools ## lay the source out, sort the imports, write the generated files
	$(PYTHON) -m ruff check --select I --fix
	$(PYTHON) -m ruff format
	$(PYTHON) -m bpf.generate
	$(PYTHON) -m cli.manual

clean: ## remove what was made here, .venv included; databases stay
	rm -rf .venv build dist *.egg-info .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

tools:
	@./setup.sh test
