# The targets of development; docs/development.md says more.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# gin's support for msgpack would add 6 MB.
BUILDTAGS = -tags nomsgpack
BUILDFLAGS = $(BUILDTAGS) -trimpath -ldflags '$(LDFLAGS)'

# A number of inputs and not a duration: with a duration, the fuzzer's own deadline can fail a
# target that is sound (golang.org/issue/75804).
FUZZTIME ?= 10000x
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help build test bench bench-system fuzz lint vuln cost clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## a static binary in bin/
	CGO_ENABLED=0 go build $(BUILDFLAGS) -o bin/segment-saasquatch ./cmd/segment-saasquatch

# The race detector sees Go's own memory only. SQLite, which is C translated to Go, keeps its
# data outside of it, so that to instrument SQLite finds nothing and makes it three times as slow.
RACE = -race $(foreach package,sqlite/lib libc memory,-gcflags=modernc.org/$(package)=-race=false)

# Tests of the program and of stores wait most of the time. More packages and tests at once
# than there are processors use that time.
# EXPLORE=4 lets the randomised tests explore four times as far. Without GORACE each process of a
# test sleeps a second at its end.
test: ## every test, with the race detector
	GORACE=atexit_sleep_ms=50 go test $(RACE) -p 3 -parallel 4 -timeout 20m ./...

bench: ## every benchmark, with the ratios to its baselines
	go test -run '^$$' -bench . ./mapping/... ./adapter/... ./cmd/...

# PAIRS=1 EVENTS=5000 is a quick look.
PAIRS ?= 5
EVENTS ?= 30000
bench-system: ## the built program from outside, as ratios to a bare HTTP client; minutes
	SYSTEM_BENCH_EVENTS=$(EVENTS) go test ./cmd/segment-saasquatch -run '^$$' -bench '^BenchmarkSystem$$' \
		-benchtime $(PAIRS)x -timeout 2h

# Each package is built once, and not again for each of its targets.
fuzz: ## every fuzz target with FUZZTIME inputs
	@set -e; built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; cache=$$(go env GOCACHE)/fuzz; \
	go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do \
		grep -qs '^func Fuzz' "$$dir"/*_test.go || continue; \
		go test -c -fuzz . -o "$$built/fuzz.test" "$$package"; \
		for target in $$(cat "$$dir"/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "fuzz $$package $$target"; \
			(cd "$$dir" && "$$built/fuzz.test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 100x \
				-test.fuzzcachedir "$$cache/$$package" </dev/null); \
		done; \
	done

lint: ## formatting, vet, staticcheck, golangci-lint, tidiness
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go run $(GOLANGCI) run
	go mod tidy -diff

vuln: ## known vulnerabilities; needs the Go vulnerability database
	go run $(GOVULNCHECK) ./...

# A change that raises one of these by more than 5 % says why in its commit. The build is cold:
# its cache is empty, the modules are there.
cost: ## size of the binary, packages that are linked, and CPU time of a cold build
	@set -e; built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; go mod download; \
	(CGO_ENABLED=0 GOCACHE="$$built/cache" go build $(BUILDFLAGS) -o "$$built/program" ./cmd/segment-saasquatch; times >"$$built/times"); \
	echo "size of the binary: $$(wc -c <"$$built/program") bytes"; \
	echo "linked packages that are not of the standard library: $$(go list $(BUILDTAGS) -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' ./cmd/segment-saasquatch | grep -c .)"; \
	tail -n 1 "$$built/times" | tr ms '  ' | awk '{printf "CPU time of a cold build: %.0f s\n", 60*$$1+$$2+60*$$3+$$4}'

clean:
	rm -rf bin
