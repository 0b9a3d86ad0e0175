// Package observe makes the work of a program visible: metrics for Prometheus, traces for OpenTelemetry, and the last failures.
//
//	o, err := observe.New(ctx, build, os.LookupEnv)
//	defer o.Close()
//	provider, closeAll, err := assemble.Watched(cfg, log, o.Hooks())
//	o.Watch(provider)
//	listen.Serve(ctx, listen.Config{Interceptors: o.Interceptors(), Options: o.Options(), …}, …)
//
// The package observes from outside, with interceptors and with the hooks of the client and the server. It has no global
// registry and no global tracer, so that a process can have several observers.
package observe

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas"
)

// Observer observes one program.
type Observer struct {
	Build   program.Build
	Began   time.Time
	Metrics *Metrics
	Journal *listen.Journal

	provider *server.Server
	tracing  *tracing
}

// Hooks observe the parts of a provider. The zero value observes nothing.
type Hooks struct {
	NAS    truenas.Hooks
	Server server.Hooks
	Images func(bytes int) // bytes of images as they arrive
}

// New makes an observer. The environment determines the destination of traces; without a destination, there are no traces.
func New(ctx context.Context, build program.Build, lookupEnv func(string) (string, bool)) (*Observer, error) {
	traces, err := newTracing(ctx, build, lookupEnv)
	if err != nil {
		return nil, err
	}
	return &Observer{Build: build, Began: time.Now(), Metrics: newMetrics(build), Journal: &listen.Journal{}, tracing: traces}, nil
}

// Close sends the remaining traces.
func (o *Observer) Close() error { return o.tracing.close() }

// Hooks returns the hooks for a provider's client, its background work and its images.
func (o *Observer) Hooks() Hooks {
	return Hooks{
		NAS: truenas.Hooks{
			OnCall: o.Metrics.nas.called, OnJob: o.Metrics.nas.jobEnded, OnBytes: o.Metrics.nas.passed,
			OnState: func(s truenas.Status) {
				o.Metrics.nas.changed(s)
				if !s.Connected && s.Err != nil {
					o.Journal.Note("connection", "", codes.Unavailable, s.Err.Error())
				}
			},
			Trace: o.tracing.call,
		},
		Server: server.Hooks{
			OnImage: func(took time.Duration, err error) {
				o.Metrics.images.prepared(took, err)
				if err != nil {
					o.Journal.Note("image", "", codes.Unknown, err.Error())
				}
			},
			Trace: o.tracing.work,
		},
		Images: o.Metrics.images.passed,
	}
}

// Watch adds the provider's VMs to the metrics. It is called once, before the provider serves.
func (o *Observer) Watch(s *server.Server) {
	o.provider = s
	o.Metrics.registry.MustRegister(newStateOf(s))
}

// Provider returns the observed provider, or nil.
func (o *Observer) Provider() *server.Server { return o.provider }

// Interceptors count a service's calls and record the failed ones. They must come before the interceptor that sets the codes of
// errors.
func (o *Observer) Interceptors() []grpc.UnaryServerInterceptor {
	return []grpc.UnaryServerInterceptor{o.Metrics.rpc.UnaryServerInterceptor(), o.Journal.Interceptor()}
}

// Options trace a service's calls if tracing is on.
func (o *Observer) Options() []grpc.ServerOption { return o.tracing.serverOptions() }

// DialOptions count the calls to other services, and propagate traces to them if tracing is on.
func (o *Observer) DialOptions() []grpc.DialOption {
	return append(o.tracing.dialOptions(), grpc.WithChainUnaryInterceptor(o.Metrics.called.UnaryClientInterceptor()))
}
