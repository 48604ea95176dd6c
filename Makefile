PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_FOR_DEMO := .venv/.installed-for-demo
# Three workers more than there are cores, because many tests wait. The programs that tests run are
# fetched meanwhile.
PYTEST := $(BIN)/python -m tools.programs >/dev/null & \
	$(BIN)/python -m pytest -n $(shell expr $$(nproc) + 3) --dist worksteal

# Many processes start while tests run. Without garbage collection Helm takes a fifth less of the
# processors, and Python does where it may keep what it compiled, which images often forbid.
export GOGC := off
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-thorough test-ovms lint workflows dockerfiles docs links generate fuzz format bench bench-sizes chart images kind notebooks clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) tools/install.py dev
	@touch $(INSTALLED_FOR_DEMO) $@

$(INSTALLED_FOR_DEMO): pyproject.toml constraints.txt
	@$(PYTHON) tools/install.py build,serve
	@touch $@

setup: $(INSTALLED) ## Make .venv with everything in it

demo: $(INSTALLED_FOR_DEMO) ## A checkpoint becomes two versions, served and asked
	$(BIN)/python -m bertqa_cli.demo

test: $(INSTALLED) ## Run the tests, but for those that take long
	$(PYTEST) -m "not thorough" --ignore=tests/build

test-thorough: $(INSTALLED) ## Run those: the demo's build, switches under load and in trouble, kills, notebooks
	$(PYTEST) -m "thorough and not ovms"

test-ovms: $(INSTALLED) ## Run the tests that need a real OVMS, which OVMS_BINARY names
	@[ -n "$(OVMS_BINARY)" ] || command -v ovms >/dev/null || { \
		echo "No test ran: OVMS_BINARY names no ovms program, and there is none on PATH." >&2; exit 1; }
	$(PYTEST) -m ovms

lint: $(INSTALLED) workflows dockerfiles ## Check style, types, workflows and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.unasync --check
	$(BIN)/python -m tools.schemas --check
	$(BIN)/python -m tools.hashes --check
	$(BIN)/python -m tools.pareto --check
	$(BIN)/python -m tools.fleet render --check

workflows: $(INSTALLED)
	$(BIN)/python -m tools.programs actionlint
	$(BIN)/zizmor --offline --quiet --strict-collection .github .pre-commit-config.yaml

dockerfiles: $(INSTALLED)
	$(BIN)/python -m tools.programs hadolint deploy/docker/*.Dockerfile

docs: $(INSTALLED) ## Make the documentation's pages in .work/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

links: docs ## Follow the documentation's links to other sites too
	$(BIN)/linkchecker --no-status --check-extern .work/site/index.html

generate: $(INSTALLED) ## Write what is made from other files: the synchronous twins, the tables of docs/json.md, hashes, the plot
	$(BIN)/python -m tools.unasync
	$(BIN)/python -m tools.schemas
	$(BIN)/python -m tools.hashes
	$(BIN)/python -m tools.pareto
	$(BIN)/python -m tools.fleet render

chart: $(INSTALLED) ## Check the chart and pack it into .work
	$(BIN)/python -m tools.chart --check
	$(PYTEST) tests/deploy/helm
	$(BIN)/python -m tools.programs helm package deploy/helm/bert-qa --destination .work

images: $(INSTALLED) ## Build the chart's images; REGISTRY=... pushes them, IMAGES="model client" names some
	$(BIN)/python -m tools.images $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(BUILDER),--builder $(BUILDER)) $(IMAGES)

kind: $(INSTALLED) ## Build what the chart needs, load it into a cluster of kind (CLUSTER=...), install it
	$(BIN)/python -m tools.images --kind $(CLUSTER) $(if $(BUILDER),--builder $(BUILDER))

bench: $(INSTALLED) ## Measure the demo's versions in a quarter of an hour: engines, peers, highest rates
	mkdir -p .work/bench
	$(BIN)/bert-qa build build/recipes/demo.yaml
	$(BIN)/bert-qa bench --model minilm --repeats 2 --plot .work/bench/minilm.svg
	$(BIN)/bert-qa bench peers --questions 96 --rounds 2 --plot .work/bench/peers.svg
	for version in 1 2; do \
		$(BIN)/bert-qa bench load --repository model_repository --version $$version --find-rate \
			--duration 5s --data build/recipes/demo/evaluation-sample.json || exit; \
	done

bench-sizes: $(INSTALLED) ## Measure engines and precisions for three sizes of BERT, for hours
	mkdir -p .work/bench
	for model in minilm bert-base bert-large; do \
		$(BIN)/bert-qa bench --model $$model --repeats 3 --plot .work/bench/$$model.svg || exit; \
	done

notebooks: $(INSTALLED) ## Run the notebooks from the start and keep what comes out
	$(BIN)/python -m notebooks.run

fuzz: $(INSTALLED) ## Send the engine damaged requests, the client damaged answers, and the chart any values
	$(BIN)/python -m tools.fuzz
	$(BIN)/python -m tools.fuzz_client
	$(BIN)/python -m tools.fuzz_chart

format: $(INSTALLED) ## Mend style in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .work
