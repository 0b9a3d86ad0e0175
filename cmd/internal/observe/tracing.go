package observe

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

// flushTimeout limits how long traces may delay the end of the program.
const flushTimeout = 5 * time.Second

// tracing makes spans. The zero value makes none.
type tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// newTracing reads OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) turns it on,
// OTEL_EXPORTER_OTLP_PROTOCOL chooses between http/protobuf, the default, and grpc. The exporter reads the rest.
func newTracing(ctx context.Context, build program.Build, lookupEnv func(string) (string, bool)) (*tracing, error) {
	env := func(names ...string) string {
		for _, name := range names {
			if text, _ := lookupEnv(name); text != "" {
				return text
			}
		}
		return ""
	}
	if env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") == "" || strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return &tracing{}, nil
	}
	var exporter *otlptrace.Exporter
	var err error
	switch protocol := env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "", "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	default:
		err = fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is neither http/protobuf nor grpc", protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	// Attributes from the environment override those of the program.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", build.Program), attribute.String("service.version", build.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return tracingTo(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), nil
}

func tracingTo(options ...sdktrace.TracerProviderOption) *tracing {
	provider := sdktrace.NewTracerProvider(options...)
	return &tracing{provider: provider, tracer: provider.Tracer("virtrigaud-provider-truenas")}
}

func (t *tracing) close() error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// call starts a span for a call to the NAS. It omits the parameters, which may contain user data and passwords.
func (t *tracing) call(ctx context.Context, name string) (context.Context, func(error)) {
	return t.span(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("rpc.system", "jsonrpc"), attribute.String("rpc.method", name)))
}

// work starts a span for background work.
func (t *tracing) work(ctx context.Context, name string) (context.Context, func(error)) {
	return t.span(ctx, name)
}

func (t *tracing) span(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, func(error)) {
	if t.tracer == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			span.SetAttributes(attribute.String("error.type", resultOf(err)))
		}
		span.End()
	}
}

func (t *tracing) serverOptions() []grpc.ServerOption {
	if t.provider == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(t.grpcOptions()...))}
}

func (t *tracing) dialOptions() []grpc.DialOption {
	if t.provider == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(t.grpcOptions()...))}
}

// grpcOptions excludes health probes, which would fill the traces.
func (t *tracing) grpcOptions() []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return !strings.HasPrefix(info.FullMethodName, "/grpc.health.") }),
	}
}
