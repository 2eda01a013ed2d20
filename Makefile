.PHONY: build test lint check fuzz

build: ## the program, as bin/leadrelay
	CGO_ENABLED=0 go build -trimpath -o bin/leadrelay ./cmd/leadrelay

test:
	go test ./...

lint: ## needs golangci-lint 2: https://golangci-lint.run
	golangci-lint run

check: ## everything, with nothing skipped, on a Debian machine
	.ci/run

fuzz: ## each fuzz target for 30 seconds
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test $$package -run '^$$' -fuzz "^$$target$$" -fuzztime 30s || exit 1; \
		done; \
	done
