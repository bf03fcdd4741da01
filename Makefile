# Wardline. `make quick` while working, `make test` before handing in.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := build
export PATH := $(PATH):/usr/sbin:/sbin

# Tests that need other programs (mosquitto, Chromium, our own binaries) carry
# the tag system; measurements carry the tag bench.
TAGS := system,bench
TOOL := go tool -modfile=tools.mod
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X wardline/agent.Version=$(VERSION) -X wardline/cloud.Version=$(VERSION)
STEP = @printf '\n== %s\n'

.PHONY: build demo quick test bench torture setup lint fmt generate generated page race simulate mutants torture system clean

## build: both programs, static, into bin/
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./agent/cmd/wardline-agent ./cloud/cmd/wardline-cloud

## demo: the whole system on this machine, with virtual patients
demo:
	go run ./deploy/demo

## quick: what to run after every change, under a minute
quick:
	go vet ./...
	go test -short ./...
	if [ -d cloud/dashboard/node_modules ]; then cd cloud/dashboard && npm run --silent test; fi

## test: everything, from a clean clone, as CI runs it
test: setup lint generated page race simulate system

## bench: the table of figures beside their floors, kept in bin/bench.txt
bench:
	mkdir -p bin
	go test -tags bench -run '^TestBench' -count=1 -v -timeout 30m ./deploy/e2e/ | tee bin/bench.txt

## simulate: SEEDS runs of the whole system in fake time with faults; a seed that fails says how to replay it
SEEDS ?= 200
simulate:
	$(STEP) 'simulation'
	go test -run '^TestSimulation$$' -count=1 -timeout 60m ./deploy/e2e/ -sim.seeds=$(SEEDS)

## mutants: faults of one line each, which the tests must find
mutants:
	deploy/mutants.sh

## torture: CYCLES faults on real processes, held against a ledger; kept in bin/torture.txt
CYCLES ?= 1000
torture:
	mkdir -p bin
	go test -tags system -run '^TestUnderTorture' -count=1 -v -timeout 4h ./deploy/e2e/ -torture.cycles $(CYCLES) | tee bin/torture.txt

## setup: install what the tests need, or say what is missing
setup:
	$(STEP) 'set up'
	deploy/setup.sh

## lint: format, vet, staticcheck
lint:
	$(STEP) 'lint'
	@bad=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); if [ -n "$$bad" ]; then echo "not formatted, run make fmt:" $$bad; exit 1; fi
	go vet -tags $(TAGS) ./...
	go vet -tags torture ./agent
	$(TOOL) staticcheck -tags $(TAGS) ./...

## fmt: format all Go
fmt:
	git ls-files -co --exclude-standard '*.go' | xargs gofmt -w

## generate: Go from the schemas, and the page's built files
generate:
	go generate ./...
	cd cloud/dashboard && npm run --silent build

# generated: fails when generate would change anything
generated:
	$(STEP) 'generated code is up to date'
	deploy/generated.sh

# page: types and unit tests of the page
page:
	$(STEP) 'page'
	cd cloud/dashboard && npm run --silent check && npm run --silent test

# race: every package's tests under the race detector
race:
	$(STEP) 'tests of packages, with the race detector'
	go test -race -timeout 15m ./...

# The plan of the hundred cycles of torture in make test; make torture makes another each time.
TORTURE_SEED ?= 15594179935621605059

# system: real processes, a real broker, a real browser
system:
	$(STEP) 'tests of the whole system'
	go test -tags system -count=1 -timeout 15m ./deploy/e2e/ -torture.seed=$(TORTURE_SEED)

clean:
	rm -rf bin
