# The infrastructure provider for Omni as a static binary and nothing else: docker build -f deploy/omni.Dockerfile .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party third_party
RUN go mod download
COPY cmd cmd
COPY config config
COPY omni omni
COPY server server
COPY truenas truenas
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/ ./cmd/omni-infra-provider-truenas

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/omni-infra-provider-truenas /
USER 65532:65532
# the health checks over HTTP
EXPOSE 8080
ENTRYPOINT ["/omni-infra-provider-truenas"]
