# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets.

GO         ?= go
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM   = $(GO) run gotest.tools/gotestsum@v1.13.0

.DEFAULT_GOAL := help
.PHONY: help build run test check generate demo bench fuzz tools clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/relay and bin/analyze
	$(GO) build -trimpath -o bin/ ./cmd/relay ./cmd/analyze

run: build ## run the relay on loopback with its embedded default (no root)
	@exec bin/relay run

test: ## run all tests; what can't run here is named at the end
	$(GOTESTSUM) --format pkgname $(GOTESTSUMFLAGS) -- $(TESTFLAGS) ./...

check: ## gofmt, go vet, staticcheck, clang-format where it is installed
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "not gofmt-clean: run gofmt -w on these"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	@if command -v clang-format-14 >/dev/null; then clang-format-14 --dry-run -Werror bpf/*.c bpf/*.h relay/bench/*.c; \
	 else echo "clang-format-14 is not installed: C formatting was NOT checked"; fi

demo: build ## the story in half a minute: kernel path, reload, incident (root; DEMOFLAGS='--keep DIR' keeps the log)
	@$(GO) build -trimpath -o bin/ ./relay/demo
	@exec bin/demo $(DEMOFLAGS)

bench: build ## compare with coturn, pion/turn, a floor and jq, some 8 minutes (root; BENCHFLAGS=-short for a brief look)
	@$(GO) build -trimpath -o bin/ ./relay/bench
	@exec bin/bench $(BENCHFLAGS)

FUZZTIME ?= 30s
fuzz: ## fuzz each entry point for FUZZTIME (30s): the router against its model (root), the core, the parsers
	@set -e; for f in bpf:FuzzRouter relay/turn:FuzzHandle relay/turn:FuzzParseSend relay/turn:FuzzParseChannelData relay/config:FuzzParse; do \
	 echo "== $$f"; $(GO) test ./$${f%%:*} -run '^$$' -fuzz "^$${f##*:}\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x; done

generate: ## rebuild what is generated: BPF objects (needs clang-14), the log schema
	$(GO) generate ./...

tools: ## install what the privileged tests and CI need (root, Debian)
	bash .ci/tools

clean: ## remove built binaries
	rm -rf bin
