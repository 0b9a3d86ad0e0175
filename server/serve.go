package server

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

// defaultGrace is what Kubernetes leaves a provider's pod between the end of preStop and the kill.
const defaultGrace = 15 * time.Second

// ErrCutOff is what [Serve] returns when calls were still running at the end of the grace period.
var ErrCutOff = errors.New("calls that were still running have been cut off")

// ServeConfig says where and how the service is offered.
type ServeConfig struct {
	Listen       string   // address of the gRPC service
	HealthListen string   // address of /healthz and /readyz; empty: not served
	TLSDir       string   // may hold tls.crt, tls.key and ca.crt; see [ServeConfig.Validate]
	AllowedSANs  []string // names of which a client's certificate must hold one; empty: any
	Insecure     bool     // allows plaintext on addresses other than loopback
	Logger       *zap.Logger
	// Web is served at the health address beside its own pages; nil: nothing.
	Web http.Handler
	// Interceptors see each call as its caller does, with the code that it is answered with.
	Interceptors []grpc.UnaryServerInterceptor
	Options      []grpc.ServerOption // such as a stats handler
	Grace        time.Duration       // how long calls in flight may take to end; 0: 15 s
	// Listening, when set, is called once with the addresses in use, before the first call is served. The second is nil
	// when no health address was asked for.
	Listening func(service, health net.Addr)
}

// Serve offers the services that register adds, together with grpc.health.v1 and reflection, until ctx ends. Then it takes
// no new calls, lets those in flight finish, and cuts off what is left after the grace period.
//
// ready answers /readyz. It is not used for grpc.health.v1 and /healthz, which tell that the process serves: a provider
// whose NAS is away must go on answering, or the manager takes it for broken.
func Serve(ctx context.Context, cfg ServeConfig, register func(grpc.ServiceRegistrar), ready func() error) error {
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

// options are those of every server: one log line a call, trouble told in measure, errors with codes, panics as errors, and
// streams that end when the server does.
func (c ServeConfig) options(ending context.Context) []grpc.ServerOption {
	guard := onPanic(c.Logger)
	return append(slices.Clone(c.Options),
		grpc.ChainUnaryInterceptor(slices.Concat(c.Interceptors, []grpc.UnaryServerInterceptor{logCalls(c.Logger), Sparing(), Interceptor(), recovery.UnaryServerInterceptor(guard)})...),
		grpc.ChainStreamInterceptor(endStreams(ending), recovery.StreamServerInterceptor(guard)),
		// A manager that vanished without a word is noticed within a minute; one that pings an idle connection is welcome.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
}

func onPanic(log *zap.Logger) recovery.Option {
	return recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		log.Error("a call panicked", zap.Any("panic", p), zap.Stack("stack"))
		return status.Error(codes.Internal, "the provider failed inside; its log has the details")
	})
}

// endStreams cancels streams when the server stops. The services' own calls are unary; a health watch would otherwise keep
// a graceful stop waiting for ever.
func endStreams(ending context.Context) grpc.StreamServerInterceptor {
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

// stop lets the calls in flight finish within the grace period; then it cancels their contexts and closes the connections.
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
	case <-time.After(time.Second): // a call that does not heed its context ends with the process
	}
	return ErrCutOff
}
