package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// defaultGrace is the time between the end of preStop and the kill of a pod, with the grace period of the chart.
const defaultGrace = 15 * time.Second

// ErrGraceExceeded is returned by [Serve] when calls were still running at the end of the grace period.
var ErrGraceExceeded = errors.New("grace period ended: calls in flight were cancelled")

// Config holds the addresses, the TLS files and the interceptors of a service.
type Config struct {
	Listen       string   // address of the gRPC service
	HealthListen string   // address of /healthz and /readyz; empty: none
	TLSDir       string   // may hold tls.crt, tls.key and ca.crt; see [Config.Validate]
	AllowedSANs  []string // a client's certificate must hold one of these names; empty: any
	Insecure     bool     // allows plaintext on addresses other than loopback
	Logger       *zap.Logger
	// Web serves the other paths of the health address; nil: none.
	Web http.Handler
	// Interceptors run outermost: they see each call with the code that its caller receives.
	Interceptors []grpc.UnaryServerInterceptor
	// Service runs inside the call log and the circuit breaker; it gives the errors of the handlers their codes. nil: the
	// handlers return status errors themselves.
	Service grpc.UnaryServerInterceptor
	Options []grpc.ServerOption // such as a stats handler
	Grace   time.Duration       // how long calls in flight may take to end; 0: 15 s
	// Listening, when set, is called once with the addresses in use, before the first call is served. The second is nil
	// without a health address.
	Listening func(service, health net.Addr)
}

// Serve serves the services that register adds, grpc.health.v1 and reflection until ctx ends. Then it refuses new calls,
// waits for calls in flight, and returns [ErrGraceExceeded] when some of them still run after the grace period.
//
// ready decides the answer of /readyz. It does not affect grpc.health.v1 and /healthz, which report that the process serves:
// a provider whose NAS is unavailable must keep serving, or the manager considers it failed.
func Serve(ctx context.Context, cfg Config, register func(grpc.ServiceRegistrar), ready func() error) error {
	transport, err := cfg.transport()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("gRPC service: %w", err)
	}
	defer func() { _ = listener.Close() }()
	probes, err := listenProbes(cfg.HealthListen, ready, cfg.Web)
	if err != nil {
		return err
	}
	defer probes.close()

	ending, end := context.WithCancel(context.Background())
	defer end()
	service := grpc.NewServer(append(cfg.options(ending), grpc.Creds(transport))...)
	register(service)
	health := grpchealth.NewServer()
	grpc_health_v1.RegisterHealthServer(service, health)
	for name := range service.GetServiceInfo() {
		health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	reflection.Register(service)
	if cfg.Listening != nil {
		cfg.Listening(listener.Addr(), probes.addr())
	}

	group, over := errgroup.WithContext(ctx)
	group.Go(func() error { return service.Serve(listener) })
	group.Go(probes.serve)
	group.Go(func() error {
		<-over.Done()
		probes.drain()
		health.Shutdown()
		end()
		err := stop(service, cfg.Grace)
		probes.close()
		return err
	})
	return group.Wait()
}

// options are those of every server: one log line per call, the circuit breaker, errors with codes, panics as errors, and
// streams that end with the server.
func (c Config) options(ending context.Context) []grpc.ServerOption {
	guard := onPanic(c.Logger)
	inner := []grpc.UnaryServerInterceptor{logCalls(c.Logger), Breaker()}
	if c.Service != nil {
		inner = append(inner, c.Service)
	}
	return append(slices.Clone(c.Options),
		grpc.ChainUnaryInterceptor(slices.Concat(c.Interceptors, inner, []grpc.UnaryServerInterceptor{recovery.UnaryServerInterceptor(guard)})...),
		grpc.ChainStreamInterceptor(cancelStreams(ending), recovery.StreamServerInterceptor(guard)),
		// Keepalive detects a dead client within a minute. Clients may ping idle connections.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
}

func onPanic(log *zap.Logger) recovery.Option {
	return recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		log.Error("call panicked", zap.Any("panic", p), zap.Stack("stack"))
		return status.Error(codes.Internal, "internal error: see the provider log")
	})
}

// cancelStreams cancels streams when the server stops. All calls of the service are unary; only a health watch is a stream, and
// it would block a graceful stop.
func cancelStreams(ending context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ending, cancel)()
		return handle(srv, endingStream{stream, ctx})
	}
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }

// stop waits for calls in flight until the grace period ends; then it cancels their contexts and closes the connections.
func stop(service *grpc.Server, grace time.Duration) error {
	finished := make(chan struct{})
	go func() {
		service.GracefulStop()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-time.After(cmp.Or(grace, defaultGrace)):
	}
	service.Stop()
	select {
	case <-finished:
	case <-time.After(time.Second): // a call that ignores its context ends with the process
	}
	return ErrGraceExceeded
}
