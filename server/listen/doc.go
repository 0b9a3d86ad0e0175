// Package listen serves gRPC services to the manager, the Omni adapter and grpcurl: addresses, TLS with rotation, health
// checks, one log line per call, deadlines and a graceful stop.
//
//	listen.Serve(ctx, listen.Config{Listen: ":9443", TLSDir: "/etc/virtrigaud/tls", Service: server.Interceptor()}, provider.Register, provider.Ready)
//
// Each call passes, from the outside in: the interceptors of [Config], the call log, the circuit breaker ([Breaker]), the
// service's own interceptor, which uses [WithinDeadline] and gives errors their codes, and the recovery from panics.
//
// This package knows neither the NAS nor the RPCs' meaning; it reads requests only for the names in the log.
//
//   - serve.go: [Serve], [Config] and the graceful stop
//   - tls.go: the certificate, its rotation, the names of clients
//   - probe.go: /healthz and /readyz
//   - deadline.go: [WithinDeadline]
//   - breaker.go: [Breaker]
//   - calllog.go, requestid.go: the log line of a call and its id
//   - journal.go: [Journal], the last faults, for the status page
package listen
