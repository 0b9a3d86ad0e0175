package observe

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// traced is an observer that keeps its spans in memory.
func traced(t *testing.T) (*Observer, *tracetest.SpanRecorder) {
	t.Helper()
	o, err := New(t.Context(), program.BuildOf("test", "", ""), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	o.tracing = tracingTo(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o, spans
}

// client calls a provider on a simulated NAS. Both are observed. After stop, the handlers of all calls have ended: a handler records
// its end after its response was sent, which may be after the caller received it.
func client(t *testing.T, o *Observer) (c providerv1.ProviderClient, stop func()) {
	t.Helper()
	nas, err := sim.New(sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nas.Close)
	served, err := sim.Serve(nas, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(served.Close)
	there, err := truenas.New(truenas.Config{URL: served.URL, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Fingerprint: served.Fingerprint, Hooks: o.Hooks().NAS})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := server.New(there, server.Config{ID: "test", Dataset: "tank/virtrigaud", Hooks: o.Hooks().Server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(provider.Close(), there.Close()) })
	o.Watch(provider)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := grpc.NewServer(append(o.Options(), grpc.ChainUnaryInterceptor(append(o.Interceptors(), server.Interceptor())...))...)
	provider.Register(service)
	go service.Serve(lis) //nolint:errcheck // It ends with Stop.
	t.Cleanup(service.Stop)
	conn, err := grpc.NewClient(lis.Addr().String(), append(o.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return providerv1.NewProviderClient(conn), service.GracefulStop
}

func TestATraceReachesFromTheCallerToTheNAS(t *testing.T) {
	o, spans := traced(t)
	const secret = "correct horse"
	provider, stop := client(t, o)
	_, err := provider.Create(t.Context(), &providerv1.CreateRequest{
		Name: "web", UserData: []byte(secret), ClassJson: `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":1}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	of := map[string]sdktrace.ReadOnlySpan{}
	for _, span := range spans.Ended() {
		of[span.Name()+" "+span.SpanKind().String()] = span
		for _, a := range span.Attributes() {
			if strings.Contains(a.Value.String(), secret) || strings.Contains(a.Value.String(), sim.DefaultAPIKey) {
				t.Errorf("%s contains a secret: %v", span.Name(), a)
			}
		}
	}
	const rpc = "provider.v1.Provider/Create"
	caller, callee := of[rpc+" client"], of[rpc+" server"]
	if caller == nil || callee == nil {
		t.Fatalf("no spans of the RPC among %v", of)
	}
	if callee.Parent().SpanID() != caller.SpanContext().SpanID() {
		t.Error("the service does not continue its caller's trace")
	}
	for _, method := range []string{"vm.create", "pool.dataset.create", "filesystem.put"} {
		span := of[method+" client"]
		if span == nil || span.Parent().SpanID() != callee.SpanContext().SpanID() {
			t.Errorf("%s is not part of the RPC's span: %v", method, span)
		}
	}
	if job, put := of["job filesystem.put client"], of["filesystem.put client"]; job == nil || put == nil || job.Parent().SpanID() != put.SpanContext().SpanID() {
		t.Error("the upload's job is not part of the upload's span")
	}
}

func TestTracingIsOffUnlessConfigured(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		on   bool
		err  string
	}{
		{"nothing is set", nil, false, ""},
		{"an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true, ""},
		{"an endpoint for gRPC", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{"switched off for all", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, false, ""},
		{"an unknown protocol", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, `OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is neither`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := New(t.Context(), program.BuildOf("test", "", ""), func(name string) (string, bool) { text, ok := tt.env[name]; return text, ok })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = o.Close() }()
			if on := len(o.Options()) > 0; on != tt.on {
				t.Errorf("tracing is on: %v", on)
			}
			ctx, ended := o.Hooks().NAS.Trace(context.Background(), "vm.query")
			ended(nil)
			if ctx == context.Background() == tt.on {
				t.Errorf("a call has a span: %v", !tt.on)
			}
		})
	}
}
