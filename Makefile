# Short targets over scripts/ and test/report. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
# The version comes from scripts/build; stamping would only fail where the checkout
# belongs to another user.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false
# What go build, go test and go run need before anything else.
go := scripts/check-go &&

.PHONY: help build demo test test-all race lint fmt proto bench fuzz clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

build: ## bin/snakepitd, bin/snakepitctl and bin/snakepit-gate
	@$(go) scripts/build

demo: ## see it work: a pool, real texts, a killed worker, a clean stop (under a minute)
	@$(go) scripts/need python3-grpcio python3-protobuf
	@go run ./test/demo

test: ## the tests, in at most five minutes; ends in a table
	@$(go) go run ./test/report test

test-all: ## what `make test` leaves out: lint, long tests, fuzzing, demo, benchmark
	@$(go) go run ./test/report test-all

race: ## the race detector over the core packages
	@$(go) go run ./test/report race

lint: ## golangci-lint and shellcheck
	@$(go) scripts/lint

fmt: ## format the Go code
	@$(go) scripts/tools golangci-lint && .bin/golangci-lint fmt ./...

proto: ## generate the Go code of the .proto files
	@$(go) scripts/need protobuf-compiler libprotobuf-dev
	@scripts/tools protoc-gen-go protoc-gen-go-grpc && scripts/generate

bench: ## cost of the hop, spawn and respawn times, as ratios
	@$(go) scripts/need python3-grpcio python3-protobuf
	@scripts/build && go run ./bench

fuzz: ## every fuzz target for FUZZTIME [20s]
	@$(go) go run ./test/report fuzz

clean: ## remove bin/ and .bin/
	rm -rf bin .bin
