# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up and may be run again. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint generate bench kernels image deploy clean

# The distribution's Python: its BCC and libbpf belong to it.
SYSTEM_PYTHON ?= /usr/bin/python3
PYTHON := .venv/bin/python
TAG ?= dev
OUT ?= .

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready build ## Install what is needed: packages, a virtual environment, BPF objects

.venv/ready: pyproject.toml dev/packages.py dev/packages.txt
	@echo "Packages of the distribution"
	@$(SYSTEM_PYTHON) -m dev.packages
	@echo "Python packages, into .venv"
	@test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv --system-site-packages .venv
	@$(PYTHON) -m pip install --progress-bar off --disable-pip-version-check -e '.[operator,dev]' \
		| sed -u -n -E 's/^(Collecting|Installing|Building|Successfully).*/  &/p'
	@touch $@

build: .venv/ready ## Compile the BPF objects and their catalogue
	@$(PYTHON) hatch_build.py

demo: setup ## Show the whole way on a real Kubernetes of one node; KEEP=1 leaves it up
	@$(PYTHON) -m dev.demo $(if $(KEEP),--keep)

test: lint ## Run every test, those on the real cluster and with real BPF programs included
	@$(PYTHON) -m pytest $(ARGS)

lint: setup ## Check style, types, imports and generated files
	@echo "ruff" && .venv/bin/ruff check --quiet . && .venv/bin/ruff format --quiet --check .
	@echo "mypy" && .venv/bin/mypy --no-error-summary
	@echo "pyright" && .venv/bin/pyright | { grep -v -E '^0 errors' || true; }
	@echo "import-linter" && .venv/bin/lint-imports --no-logo >/dev/null || .venv/bin/lint-imports
	@echo "generated files" && $(MAKE) --no-print-directory generate OUT=build/generated \
		&& diff -r --brief --exclude=kustomization.yaml build/generated/crds crds \
		&& for file in $$(cd build/generated && find . -name '*_pb2*'); do \
			diff --brief "build/generated/$$file" "$$file"; \
		done

generate: .venv/ready ## Write crds/ and the stubs of .proto files again
	@rm -rf build/generated && mkdir -p $(OUT)/api $(OUT)/node_agent
	@$(PYTHON) -m eunomia_api.crd $(OUT)/crds
	@$(PYTHON) -m grpc_tools.protoc -I api --python_out=$(OUT)/api --pyi_out=$(OUT)/api \
		--grpc_python_out=$(OUT)/api eunomia_api/agent.proto
	@$(PYTHON) -m grpc_tools.protoc -I node_agent --python_out=$(OUT)/node_agent \
		--pyi_out=$(OUT)/node_agent eunomia_agent/containers/cri.proto

bench: setup ## Measure beside other collectors, and write docs/benchmarks.md; ARGS=--quick|--no-cluster
	@$(PYTHON) -m bench $(ARGS)

kernels: setup ## Run the trackers' tests under other kernels, emulated; NAMES="6.1 …" picks some
	@$(PYTHON) -m dev.kernels $(NAMES)

image: setup ## Build the images of operator and agent, under localhost/
	@$(PYTHON) -m dev.image build

deploy: ## Install on the cluster of the current kubectl context; REGISTRY=… TAG=… name the images
	@$(if $(REGISTRY),,$(error say where your images are: make deploy REGISTRY=registry.example.com/eunomia TAG=0.1.0))
	@context=$$(kubectl config current-context); \
	if [ "$$context" = eunomia-dev ]; then \
		echo "the current context is the local cluster's; make demo and make test look after that one" >&2; \
		exit 1; \
	fi; \
	echo "Installing on context $$context"
	@mkdir -p build/deploy
	@printf '%s\n' \
		'apiVersion: kustomize.config.k8s.io/v1beta1' \
		'kind: Kustomization' \
		'resources: [../../manifests/base]' \
		'images:' \
		'  - {name: eunomia-operator, newName: $(REGISTRY)/eunomia-operator, newTag: "$(TAG)"}' \
		'  - {name: eunomia-agent, newName: $(REGISTRY)/eunomia-agent, newTag: "$(TAG)"}' \
		> build/deploy/kustomization.yaml
	kubectl apply --server-side -k crds
	kubectl apply -k build/deploy
	kubectl -n eunomia-system rollout status --timeout=5m deployment/eunomia-operator daemonset/eunomia-agent

clean: ## Take the local cluster down and remove what was built
	@test ! -x $(PYTHON) || $(PYTHON) -m dev.cluster down
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
