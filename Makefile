.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: ci
ci: ## Run every check, as continuous integration does
	.ci/run

.PHONY: test
test: ## Run the tests of all modules, with the race detector too
	.ci/run test

.PHONY: lint
lint: ## Check format, go.mod, go vet and golangci-lint
	.ci/run format tidy vet lint

.PHONY: fuzz
fuzz: ## Run each fuzz target for a few seconds
	.ci/run fuzz

.PHONY: vuln
vuln: ## Look for known vulnerabilities
	.ci/run vuln

# n: how many, 0 for all; seed: which ones; most: how many may survive; strict: all of those argued
n = 100
seed = 1
most = 5
strict = true
.PHONY: mutants
mutants: ## Change the code in n=100 places, seed=1, and see that tests fail
	go -C internal/mutants run . -n $(n) -seed $(seed) -max-survivors $(most) -strict=$(strict) \
		./cache ./interceptor ./metadata ./internal/incoming ./internal/extractor ./internal/member ./authcontext/header.go

.PHONY: bench
bench: ## Measure, in minutes, and write docs/performance.md
	go -C benchmarks run . -out ../docs

.PHONY: bench-full
bench-full: ## The same, taking longer
	go -C benchmarks run . -out ../docs -full

.PHONY: cover
cover: ## Run the tests and show the coverage of each function
	go test -coverpkg ./... -coverprofile coverage.out ./...
	go tool cover -func coverage.out

.PHONY: quickstart
quickstart: ## See it work: a server, a client and sessions in one program
	go run ./examples/quickstart

.PHONY: generate
generate: ## Make the Go code of the .proto files again
	go -C internal/protogen run . -root ../../proto connectum/auth/v1/options.proto
	go -C internal/protogen run . -root .. -imports ../../proto -plugins protoc-gen-go,protoc-gen-go-grpc notes/v1/notes.proto
	go -C internal/protogen run . -root ../../examples/betterauth -plugins protoc-gen-go,protoc-gen-go-grpc,protoc-gen-grpc-gateway account/v1/account.proto

.PHONY: fmt
fmt: ## Format the code
	gofmt -w .
