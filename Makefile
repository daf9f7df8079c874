# Every command a developer needs; `make help` lists them.
PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help
.PHONY: help setup demo test e2e lint format serve images pipeline bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.complete ## make .venv and install everything that is pinned in requirements.lock

.venv/.complete: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"glioscope needs Python 3.11 or 3.12, {sys.executable} is {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --progress-bar off --quiet --constraint requirements.lock --editable '.[dvc,kfp,serving,dev]'
	@touch $@

demo: setup ## from nothing to a served model: phantom, three networks, gate, TorchServe, one scan
	@scripts/demo

test: setup lint ## the whole default test suite, linters included
	pytest

e2e: setup ## the pipeline from a DVC revision to an endpoint, in processes and containers; needs an S3 store (AWS_…) and Docker
	pytest -s tests/e2e

lint: setup ## ruff, mypy and the import contracts
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

format: setup ## let ruff put the code in shape
	ruff check --fix .
	ruff format .

serve: setup ## TorchServe with the model that `dvc repro` made, else the released one, until Ctrl-C
	@scripts/serve

images: image-components image-serving ## the container images; options: docs/components-image.md, docs/serving-image.md

image-%:
	docker build --file $*/Dockerfile --build-arg REVISION=$(REVISION) \
	  --build-arg BASE --build-arg PIP_EXTRA_INDEX_URL --build-arg TORCH_BUILD \
	  --tag glioscope-$*:$(VERSION) --tag glioscope-$*:$(REVISION) --tag glioscope-$*:latest .
	@docker image inspect --format '{{.Size}}' glioscope-$*:latest | awk '{printf "glioscope-$*:$(VERSION), %.2f GB\n", $$1 / 1e9}'

pipeline: setup ## pipelines/glioscope.yaml and the monitoring manifests, made again from the code
	python -m pipelines.compile
	python k8s/monitoring/make.py

bench: setup ## the figures of the README's performance table
	python benchmarks/decode.py
	python benchmarks/ingest.py
	python benchmarks/feed.py
	python benchmarks/evaluate.py
	python benchmarks/train_step.py
	python benchmarks/endpoint.py --volume-repeats 1

lock: ## pin what is installed now (run in a fresh .venv with all extras)
	.venv/bin/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[^+]*)\+.*/\1/' | grep -v '@ file' > requirements.lock

clean: ## remove everything that can be made again, but not .venv
	rm -rf data models evaluation selected archive gate.json demo logs build
