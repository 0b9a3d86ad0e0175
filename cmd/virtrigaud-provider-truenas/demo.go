package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
)

// tour is a provider on a simulated NAS with a client that calls it as VirtRigaud's manager does.
type tour struct {
	out    io.Writer
	nas    *simulator
	client providerv1.ProviderClient
	stop   func() error // stops the provider

	watching *observe.Observer // of the running provider
	health   string            // host:port of its status page and metrics
	web      string            // id of the VM that most steps use

	image    *download // image that the steps with a URL share
	prepared string

	mu    sync.Mutex
	count map[string]int // calls by method; nil: print calls instead of counting them
}

// A step acts through gRPC and verifies the result on the NAS. It returns one line that describes the result.
type step struct {
	title string
	run   func(context.Context, *tour) (string, error)
}

// demoCommand is the command "demo".
func demoCommand(out io.Writer) program.Command {
	var simulated simulatorFlags
	return program.Command{
		Use:   "demo [flags]",
		Short: "Show what the provider does, on a simulated NAS",
		Long: `Serves the RPCs on loopback with a simulated NAS, calls them, and verifies the result of each call on the NAS.
It changes nothing outside the program.`,
		Flags: func(flags *pflag.FlagSet) {
			flags.BoolVar(&simulated.wanted, "simulator", true, "accepted and ignored: a demo always has a simulated NAS")
			_ = flags.MarkHidden("simulator") // It fails only for an undefined flag.
			simulated.addNAS(flags, demoLatency)
		},
		Run: func(ctx context.Context, _ *pflag.FlagSet, _ []string) error { return runDemo(ctx, simulated, out) },
	}
}

// demoLatency makes round trips visible in the times of a demo.
const demoLatency = 5 * time.Millisecond

// runDemo runs the steps in order, prints each one, and ends with a summary. It returns the error of the failed step.
func runDemo(ctx context.Context, simulated simulatorFlags, out io.Writer) error {
	nas, err := startSimulator(simulated)
	if err != nil {
		return err
	}
	defer nas.close()
	t := &tour{out: out, nas: nas}
	if err := t.start(); err != nil {
		return err
	}
	defer t.end()
	_, _ = fmt.Fprintf(out, "A provider on a simulated TrueNAS %s, called over gRPC. For each step: the calls and their result.\n", simulated.release)
	return t.take(ctx, demoSteps())
}

func (t *tour) end() {
	_ = t.stop()
	if t.image != nil {
		t.image.close()
	}
}

// take prints each step and each call when it happens. It stops after a failed step.
func (t *tour) take(ctx context.Context, steps []step) error {
	var failed error
	summary := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(summary, "step\ttime\tcalls to the NAS\tresult\n")
	begin := time.Now()
	for i, s := range steps {
		if failed != nil {
			_, _ = fmt.Fprintf(summary, "%s\t\t\tnot taken\n", s.title)
			continue
		}
		_, _ = fmt.Fprintf(t.out, "\n%d. %s\n", i+1, s.title)
		t.nas.ResetCalls()
		stepBegin, result := time.Now(), "ok"
		seen, err := s.run(ctx, t)
		if err != nil {
			failed, result, seen = fmt.Errorf("%s: %w", s.title, err), "FAILED", "FAILED: "+err.Error()
		}
		t.printCount()
		_, _ = fmt.Fprintf(t.out, "   %s\n", seen)
		_, _ = fmt.Fprintf(summary, "%s\t%s\t%d\t%s\n", s.title, rounded(time.Since(stepBegin)), len(t.nas.Calls()), result)
	}
	_, _ = fmt.Fprintln(t.out)
	_ = summary.Flush()
	if failed == nil {
		_, _ = fmt.Fprintf(t.out, "\nAll %d steps passed in %s.\n", len(steps), rounded(time.Since(begin)))
	}
	return failed
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// start runs a provider on a free port of loopback, as the program does, and connects to it.
func (t *tour) start() error {
	cfg, err := config.Load(nil, t.nas.environment(func(name string) (string, bool) {
		return map[string]string{"PROVIDER_ID": "demo", "PROVIDER_LISTEN": "127.0.0.1:0", "PROVIDER_HEALTH_LISTEN": "127.0.0.1:0"}[name], true
	}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	watching, err := observe.New(ctx, program.BuildOf("demo", version, commit), func(string) (string, bool) { return "", false })
	if err != nil {
		cancel()
		return err
	}
	t.watching = watching
	bound, ended := make(chan [2]string, 1), make(chan error, 1)
	go func() {
		ended <- serve(ctx, cfg, zap.NewNop(), watching, func(service, health net.Addr) { bound <- [2]string{service.String(), health.String()} })
	}()
	select {
	case err := <-ended:
		cancel()
		return err
	case addresses := <-bound:
		t.health = addresses[1]
		conn, err := grpc.NewClient(addresses[0], grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(t.print))
		if err != nil {
			cancel()
			return err
		}
		t.client = providerv1.NewProviderClient(conn)
		t.stop = func() error {
			_ = conn.Close()
			cancel()
			return <-ended
		}
		return nil
	}
}

// print shows a call with its code and duration, or counts it.
func (t *tour) print(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	begin := time.Now()
	err := invoke(ctx, method, req, reply, conn, opts...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count != nil {
		t.count[path.Base(method)]++
		return err
	}
	_, _ = fmt.Fprintf(t.out, "   %-12s %-18s %8s\n", path.Base(method), status.Code(err), rounded(time.Since(begin)))
	return err
}

// countCalls counts calls until the end of the step instead of printing them, for steps with many calls.
func (t *tour) countCalls() { t.count = map[string]int{} }

func (t *tour) printCount() {
	for _, method := range slices.Sorted(maps.Keys(t.count)) {
		_, _ = fmt.Fprintf(t.out, "   %-12s %d times\n", method, t.count[method])
	}
	t.count = nil
}
