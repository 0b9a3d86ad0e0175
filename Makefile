# The commands of this project. Most need only Go. The first use of a tool downloads and builds its pinned version.

BUF         := github.com/bufbuild/buf/cmd/buf@v1.57.2
GRPCURL     := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GORELEASER  := github.com/goreleaser/goreleaser/v2@v2.15.1
SDK         := github.com/projectbeskar/virtrigaud/sdk/...
PROTO       := third_party/virtrigaud/proto
MACHINE     := omni/machine
BOOTASSET   := omni/bootasset
PROVIDER    := ./cmd/virtrigaud-provider-truenas
OMNI        := ./cmd/omni-infra-provider-truenas
FUZZTIME    ?= 10s
TESTFLAGS   ?=
SCENARIOS   ?= all
E2E         ?= all
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT      ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SEED        ?=
POINTS      ?=
DURATION    ?= 10m

.PHONY: help demo run test test-all soak mutate bench fuzz lint generate build ci clean charts image lint-image e2e e2e-virtrigaud recipes

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: ## run a tour of both programs on a simulated NAS
	@echo 'Compiling the provider. The first time takes minutes, then seconds.'
	@go build -o bin/demo/ $(PROVIDER)
	@nice go build -o bin/demo/ $(OMNI) & omni=$$!; \
	bin/demo/virtrigaud-provider-truenas demo || { kill $$omni; exit 1; }; \
	echo; echo 'Compiling the Omni adapter, in the background since the start of the demo.'; \
	wait $$omni && bin/demo/omni-infra-provider-truenas demo

run: ## serve on loopback with a simulated NAS; print grpcurl commands and the address of the status page
	@go run $(PROVIDER) --simulator --health-listen 127.0.0.1:8080 --log-format console

# Most tests wait more than they compute, so eight run in parallel. The time limit of one package suits a busy machine.
# Package server comes first because it takes longest. Vet is part of "make lint".
test: ## run all tests, with a sample of the points of large tests; POINTS=5% and SEED=7 select another sample
	TEST_POINTS='$(POINTS)' TEST_SEED='$(SEED)' go test -vet=off -parallel 8 -timeout 20m $(TESTFLAGS) ./server ./... $(SDK)

test-all: ## run all tests, with all points of large tests
	TEST_POINTS=all go test -vet=off -parallel 8 -timeout 60m $(TESTFLAGS) ./server ./... $(SDK)

soak: ## run random operations under random faults for DURATION (default 10m); SEED repeats a run
	go test -count=1 -v -timeout 0 -parallel 4 ./cmd/internal/soak -seed $(or $(SEED),$(shell date +%s)) -duration $(DURATION)

mutate: ## run the mutation test with SAMPLE mutants (default 300), selected by SEED (default 1)
	nice -n 15 go run ./cmd/internal/mutate -sample $(or $(SAMPLE),300) -seed $(or $(SEED),1) $(MUTATEFLAGS)

bench: ## run all benchmarks; round-trips/op and calls/op count the calls to the NAS
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: alerts page
alerts: ## check the alert rules and run their tests with promtool
	@command -v promtool >/dev/null || apt-get install -y --no-install-recommends prometheus
	cd deploy/alerts && promtool check rules truenas-provider.yaml && promtool test rules truenas-provider_test.yaml

page: ## test the status page in headless Chromium; PICTURES=folder saves screenshots
	@command -v chromium >/dev/null || apt-get install -y --no-install-recommends chromium
	go test -count=1 -tags page -run Browser $(PROVIDER)

fuzz: ## run every fuzz target for FUZZTIME (default 10s)
	@grep -rHo --include='*_test.go' --exclude-dir=third_party '^func Fuzz[A-Za-z0-9_]*' . | \
	sed 's|/[^/]*:func | |' | sort | while read -r dir name; do \
		echo "$$dir $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$dir" </dev/null || exit 1; \
	done

charts: ## check Helm charts, manifests, compose files and api-key.sh against the real types and programs
	cd deploy/check && go mod tidy -diff && go vet ./... && go test -count=1 .

image: ## build the container images with buildah, and run their programs as VirtRigaud does; requires root
	cd deploy/check && go test -count=1 -v ./image

# dockerfilelint does not support --platform and stages from scratch. It reports both as images without a tag.
lint-image: ## lint the Dockerfile with npm's dockerfilelint
	@mkdir -p bin && sed -e 's/--platform=[^ ]* //' -e 's/^FROM scratch AS .*/FROM scratch/' Dockerfile >bin/Dockerfile && npx --yes dockerfilelint@1.8.0 bin/Dockerfile

e2e: ## boot real guests under QEMU; E2E=short selects a part
	cmd/internal/e2e/run $(E2E)

e2e-virtrigaud: ## test the provider with VirtRigaud's own manager; SCENARIOS=short, or names with commas
	deploy/e2e/run --scenarios $(SCENARIOS)

recipes: ## run every command of deploy/docs/grpcurl.md on a simulated NAS
	GOBIN=$(CURDIR)/bin go install $(GRPCURL)
	PATH=$(CURDIR)/bin:$$PATH go test -count=1 -tags recipes -run Recipes $(PROVIDER)

lint: ## check formatting, wording, vet, golangci-lint, staticcheck, workflows and go.mod
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'run gofmt -w on these'; exit 1; }
	go test -count=1 ./cmd/internal/words
	go vet ./... $(SDK)
	go vet -tags recipes,page ./cmd/...
	go run $(GOLANGCI) run ./...
	go run $(STATICCHECK) $(SDK)
	go run $(ACTIONLINT)
	go mod tidy -diff

.PHONY: vulnerabilities release-check release-snapshot
vulnerabilities: ## report known vulnerabilities in the code that the programs call; requires the Go vulnerability database
	go run $(GOVULNCHECK) ./...

release-check: ## check the release configuration
	go run $(GORELEASER) check

release-snapshot: ## build the archives and images of a release without publishing or signing; requires docker buildx and syft
	go run $(GORELEASER) release --snapshot --clean --skip=sign

generate: ## generate the code of the .proto files
	cd $(PROTO) && go run $(BUF) generate
	cd $(MACHINE) && go run $(BUF) generate
	cd $(BOOTASSET) && go run $(BUF) generate

build: ## build the programs in bin/, static and stripped
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/ ./cmd/...

ci: ## run all checks that a change must pass
	.ci/run

clean: ## remove build results and cached test results
	rm -rf bin
	go clean -testcache
