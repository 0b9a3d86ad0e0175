# Two images of static binaries and nothing else: no libraries, any user, a read-only root file system.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) \
#     -t registry.example/virtrigaud-provider-truenas:1.2.3 --push .
#   docker buildx build --target truenas-sim -t truenas-sim .
#
# The default target, providers, holds both providers. The compiler runs on the build platform and cross-compiles for
# the target platform, without emulation.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
ARG COMMIT=unknown
WORKDIR /src
COPY go.mod go.sum ./
COPY third_party third_party
RUN go mod download
COPY cmd cmd
COPY config config
COPY omni omni
COPY server server
COPY truenas truenas
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /out/ \
    ./cmd/virtrigaud-provider-truenas ./cmd/omni-infra-provider-truenas ./cmd/truenas-sim ./cmd/internal/prestop

# The simulator: docker run -p 4443:4443 truenas-sim --listen 0.0.0.0:4443 --release 26
FROM scratch AS truenas-sim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/truenas-sim /truenas-sim
# --state and --certificate keep files here.
COPY --from=build --chown=65532:65532 /var/tmp /state
USER 65532:65532
EXPOSE 4443
ENTRYPOINT ["/truenas-sim"]
CMD ["--listen", "0.0.0.0:4443"]

FROM scratch AS providers
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/virtrigaud-provider-truenas /virtrigaud-provider-truenas
COPY --from=build /out/omni-infra-provider-truenas /omni-infra-provider-truenas
# The preStop hook of VirtRigaud's manager runs /bin/sh -c "sleep 15" in the pod. This program runs that command and no other.
COPY --from=build /out/prestop /bin/sh
# The Omni adapter creates a socket in this folder. With a read-only root file system, mount a writable volume over it.
COPY --from=build --chown=65532:65532 /var/tmp /tmp
USER 65532:65532
# gRPC, and the health checks over HTTP
EXPOSE 9443 8080
ENTRYPOINT ["/virtrigaud-provider-truenas"]
