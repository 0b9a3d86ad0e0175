package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// stub is a provider whose calls wait, panic or respond as a test needs.
type stub struct {
	providerv1.UnimplementedProviderServer
	describe func(context.Context) error
}

func (s stub) Register(r grpc.ServiceRegistrar) { providerv1.RegisterProviderServer(r, s) }

func (s stub) Describe(ctx context.Context, _ *providerv1.DescribeRequest) (*providerv1.DescribeResponse, error) {
	if s.describe == nil {
		return &providerv1.DescribeResponse{Exists: true}, nil
	}
	return &providerv1.DescribeResponse{Exists: true}, s.describe(ctx)
}

func (s stub) Create(context.Context, *providerv1.CreateRequest) (*providerv1.CreateResponse, error) {
	return &providerv1.CreateResponse{Id: "made"}, nil
}

// served is a Serve that runs for a test.
type served struct {
	address, health string
	stop            context.CancelFunc
	ended           chan error
}

// serve runs Serve on free ports until the test ends, and checks that it leaves no goroutine behind.
func serve(t *testing.T, cfg Config, service stub, ready func() error) *served {
	t.Helper()
	leftovers := goleak.IgnoreCurrent()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.TLSDir == "" {
		cfg.TLSDir = t.TempDir()
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{stop: stop, ended: make(chan error, 1)}
	bound := make(chan struct{})
	cfg.Listening = func(service, health net.Addr) {
		s.address = service.String()
		if health != nil {
			s.health = "http://" + health.String()
		}
		close(bound)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		s.ended <- Serve(ctx, cfg, service.Register, ready)
	}()
	t.Cleanup(func() {
		stop()
		<-finished
		goleak.VerifyNone(t, leftovers, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	})
	select {
	case <-bound:
	case <-finished:
		t.Fatalf("not served: %v", <-s.ended)
	}
	return s
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s *served) plain(t *testing.T) *grpc.ClientConn {
	return dial(t, s.address, insecure.NewCredentials())
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestCallsInFlightFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, Config{HealthListen: "127.0.0.1:0"}, stub{describe: func(context.Context) error {
		close(entered)
		<-release
		return nil
	}}, func() error { return nil })
	client := providerv1.NewProviderClient(s.plain(t))
	answer := make(chan error, 1)
	go func() {
		_, err := client.Describe(within(t), &providerv1.DescribeRequest{Id: "a"})
		answer <- err
	}()
	<-entered
	s.stop()
	for get(t, s.health+"/readyz").code != http.StatusServiceUnavailable {
	}
	if got := get(t, s.health+"/healthz"); got.code != http.StatusOK {
		t.Errorf("the liveness check fails while calls are in flight: %v", got)
	}
	if late, err := net.Dial("tcp", s.address); err == nil {
		_ = late.Close()
		t.Error("a stopping server takes new connections")
	}
	close(release)
	if err := <-answer; err != nil {
		t.Errorf("the call in flight was cut off: %v", err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("a graceful stop is an error: %v", err)
	}
}

func TestCallsAreCancelledAfterTheGracePeriod(t *testing.T) {
	entered := make(chan struct{})
	s := serve(t, Config{Grace: 10 * time.Millisecond}, stub{describe: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}}, nil)
	client := providerv1.NewProviderClient(s.plain(t))
	answer := make(chan error, 1)
	go func() {
		_, err := client.Describe(within(t), &providerv1.DescribeRequest{Id: "a"})
		answer <- err
	}()
	<-entered
	s.stop()
	if err := <-s.ended; !errors.Is(err, ErrGraceExceeded) {
		t.Errorf("got %v", err)
	}
	if err := <-answer; status.Code(err) != codes.Unavailable {
		t.Errorf("the caller gets %v", err)
	}
}

func TestHealthWatchDoesNotDelayTheStop(t *testing.T) {
	s := serve(t, Config{}, stub{}, nil)
	client := grpc_health_v1.NewHealthClient(s.plain(t))
	watch, err := client.Watch(within(t), &grpc_health_v1.HealthCheckRequest{Service: "provider.v1.Provider"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := client.Check(within(t), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("the server has no overall health: %v", err)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("got %v", err)
	}
}

type page struct {
	code int
	text string
}

func get(t *testing.T, url string) page {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a loopback address that answers or refuses at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return page{resp.StatusCode, strings.TrimSpace(string(text))}
}

func TestProbes(t *testing.T) {
	var nas error
	s := serve(t, Config{HealthListen: "127.0.0.1:0"}, stub{}, func() error { return nas })
	for _, tt := range []struct {
		name, path string
		nas        error
		want       page
	}{
		{"alive", "/healthz", nil, page{200, "ok"}},
		{"ready", "/readyz", nil, page{200, "ok"}},
		{"not ready while the NAS is away", "/readyz", errors.New("the NAS is away"), page{503, "the NAS is away"}},
		{"alive while the NAS is away", "/healthz", errors.New("the NAS is away"), page{200, "ok"}},
		{"nothing else", "/", nil, page{404, "404 page not found"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas = tt.nas
			if got := get(t, s.health+tt.path); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// The health address serves other pages when there are any. A service without a health address has none.
func TestWeb(t *testing.T) {
	web := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	s := serve(t, Config{HealthListen: "127.0.0.1:0", Web: web}, stub{}, func() error { return nil })
	for path, want := range map[string]string{"/": "a page", "/x": "a page", "/healthz": "ok", "/readyz": "ok"} {
		if got := get(t, s.health+path); got != (page{200, want}) {
			t.Errorf("%s: %v", path, got)
		}
	}
	if s := serve(t, Config{}, stub{}, nil); s.health != "" {
		t.Errorf("a health address that the configuration does not have: %s", s.health)
	}
}

// A call that cannot be named by its caller gets an id of its own: only words without spaces, up to 64 characters, are logged.
func TestRequestIDs(t *testing.T) {
	s := serve(t, Config{}, stub{}, nil)
	client := providerv1.NewProviderClient(s.plain(t))
	for given, kept := range map[string]bool{"a": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "": false, "A-1.b_c:d/e": true, "a b": false, "a=b": false} {
		var header metadata.MD
		ctx := metadata.AppendToOutgoingContext(within(t), requestIDHeader, given)
		if _, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: "a"}, grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		got := header.Get(requestIDHeader)
		if len(got) != 1 || (got[0] == given) != kept || !kept && len(got[0]) != 16 {
			t.Errorf("the id %q is answered as %q", given, got)
		}
	}
}

// A log line names the trace of its call, if it has one.
func TestTraceOfACall(t *testing.T) {
	traced := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	if got := ids(traced); len(got) != 2 || got[1].Key != "trace" {
		t.Errorf("the fields are %v", got)
	}
	if got := ids(t.Context()); len(got) != 1 || got[0].Key != "request" {
		t.Errorf("the fields of a call without a trace are %v", got)
	}
}

func TestAddressesInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, tt := range []struct {
		name, want string
		cfg        Config
	}{
		{"service", "gRPC service: listen tcp " + taken.Addr().String(), Config{Listen: taken.Addr().String()}},
		{"health", "health checks: listen tcp " + taken.Addr().String(), Config{Listen: "127.0.0.1:0", HealthListen: taken.Addr().String()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Serve(t.Context(), tt.cfg, stub{}.Register, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "address already in use") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOneLogLineForEachCall(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	s := serve(t, Config{Logger: zap.New(core)}, stub{describe: func(context.Context) error { panic("a fault") }}, nil)
	client := providerv1.NewProviderClient(s.plain(t))
	var header metadata.MD
	mine := metadata.AppendToOutgoingContext(within(t), "x-request-id", "reconcile-7")
	_, err := client.Create(mine, &providerv1.CreateRequest{Name: "web", UserData: []byte("sesame"), ClassJson: `{"sesame":1}`}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("x-request-id"); len(got) != 1 || got[0] != "reconcile-7" {
		t.Errorf("the response header has the id %q", got)
	}
	forged := metadata.AppendToOutgoingContext(within(t), "x-request-id", "two words")
	if _, err := client.Describe(forged, &providerv1.DescribeRequest{Id: "1-2-3"}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "a fault") {
		t.Errorf("a panic is answered with %v", err)
	}
	if _, err := client.TaskStatus(within(t), &providerv1.TaskStatusRequest{Task: &providerv1.TaskRef{Id: "t"}}); status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
	var got []string
	for _, line := range lines.All() {
		fields := line.ContextMap()
		delete(fields, "took")
		delete(fields, "stack")
		delete(fields, "error")
		if id, _ := fields["request"].(string); regexp.MustCompile("^[0-9a-f]{16}$").MatchString(id) {
			fields["request"] = "new"
		}
		got = append(got, line.Level.String()+" "+line.Message+" "+mapText(fields))
	}
	want := []string{
		"info call code=OK method=Create name=web request=reconcile-7",
		"error call panicked panic=a fault",
		"warn call code=Internal method=Describe request=new vm=1-2-3",
		"debug call code=Unimplemented method=TaskStatus request=new task=t",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Without certificates, the service listens in plaintext on a loopback address only, unless the configuration allows more.
func TestPlaintextNeedsPermission(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := Serve(ctx, Config{Listen: "0.0.0.0:0", TLSDir: t.TempDir(), Listening: func(net.Addr, net.Addr) {
		t.Error("the service listens")
		cancel()
	}}, stub{}.Register, nil)
	if err == nil || !strings.Contains(err.Error(), "plaintext needs tls.insecure") {
		t.Errorf("got %v", err)
	}
}
