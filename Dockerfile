# The provider as a static binary and nothing else: no shell, no libraries, any user, a read-only root file system.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party third_party
RUN go mod download
COPY cmd cmd
COPY config config
COPY server server
COPY truenas truenas
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/ ./cmd/virtrigaud-provider-truenas

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/virtrigaud-provider-truenas /
# Seeds are put together here; a read-only container mounts something writable over it.
COPY --from=build --chown=65532:65532 /var/tmp /tmp
USER 65532:65532
# gRPC, and the health checks over HTTP
EXPOSE 9443 8080
ENTRYPOINT ["/virtrigaud-provider-truenas"]
