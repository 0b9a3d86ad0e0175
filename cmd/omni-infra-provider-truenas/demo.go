package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

const (
	demoID    = "demo"
	demoTalos = "1.12.0"
	demoClass = "cores: 2\nmemory: 4096\ndisk_size: 20\nstorage_pool: tank\nnetwork_bridge: br0\n"
)

// patience limits each wait of the demo.
const patience = 30 * time.Second

// tour is an Omni in memory, a stand-in for its image factory, and the adapter on a simulated NAS.
type tour struct {
	out     io.Writer
	omni    state.State
	factory *standin.Factory
	nas     *sim.Sim
	stop    []func()

	percent  string // progress of the image in Omni's status
	watching *observe.Observer
	counted  *adapterMetrics

	mu sync.Mutex // guards out
}

// A step acts through Omni and verifies the result on the NAS. It returns one line that describes the result.
type step struct {
	title string
	run   func(context.Context, *tour) (string, error)
}

// demoCommand is the command "demo".
func demoCommand(out io.Writer) program.Command {
	cfg := sim.Config{}
	return program.Command{
		Use:   "demo [flags]",
		Short: "Show what the provider does, without Omni and without a NAS",
		Long:  "Creates, uses and removes machines for Omni resources in memory, on a simulated NAS. It changes nothing outside the program.",
		Flags: func(flags *pflag.FlagSet) {
			flags.StringVar(&cfg.Release, "simulator-release", "25.10", "release of the simulated NAS: 25.04.2, 25.10, 26 or 27")
			flags.DurationVar(&cfg.Latency, "simulator-latency", 5*time.Millisecond, "minimum time of each call to the simulated NAS")
		},
		Run: func(ctx context.Context, _ *pflag.FlagSet, _ []string) error { return runDemo(ctx, cfg, out) },
	}
}

// runDemo runs the steps in order, prints each one, and ends with a summary. It returns the error of the failed step.
func runDemo(ctx context.Context, cfg sim.Config, out io.Writer) error {
	t := &tour{out: out, factory: &standin.Factory{}}
	defer t.close()
	if err := t.start(ctx, cfg); err != nil {
		return err
	}
	t.say("The infrastructure provider for Omni on a simulated TrueNAS %s. Omni's resources are in memory, the controllers are the\n"+
		"Omni SDK's own, and a stand-in for the image factory serves one small image.\n", cfg.Release)
	return t.take(ctx, demoSteps())
}

// take prints each step when it happens. It stops after a failed step.
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
		t.say("\n%d. %s\n", i+1, s.title)
		t.nas.ResetCalls()
		stepBegin, result := time.Now(), "ok"
		stepCtx, cancel := context.WithTimeout(ctx, patience)
		seen, err := s.run(stepCtx, t)
		cancel()
		if err != nil {
			failed, result, seen = fmt.Errorf("%s: %w", s.title, err), "FAILED", "FAILED: "+err.Error()
		}
		t.say("   %s\n", seen)
		_, _ = fmt.Fprintf(summary, "%s\t%s\t%d\t%s\n", s.title, rounded(time.Since(stepBegin)), len(t.nas.Calls()), result)
	}
	t.say("\n")
	_ = summary.Flush()
	if failed == nil {
		t.say("\nAll %d steps passed in %s.\n", len(steps), rounded(time.Since(begin)))
	}
	return failed
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func (t *tour) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.out, format, args...)
}

// start starts the NAS, the factory, Omni, the provider of the NAS, and the adapter.
func (t *tour) start(ctx context.Context, cfg sim.Config) error {
	nas, err := sim.New(cfg)
	if err != nil {
		return program.Usage(err)
	}
	t.nas = nas
	t.stop = append(t.stop, nas.Close)
	served, err := sim.Serve(nas, "127.0.0.1:0")
	if err != nil {
		return err
	}
	t.stop = append(t.stop, served.Close)
	image, err := demoImage()
	if err != nil {
		return err
	}
	t.factory.SetFormats("raw.zst")
	t.factory.SetImage("raw.zst", image)
	factory, err := t.serveFactory()
	if err != nil {
		return err
	}
	if t.omni, err = standin.Omni(ctx, demoID, factory.String()); err != nil {
		return err
	}
	provider, err := t.provider(served)
	if err != nil {
		return err
	}
	return t.adapt(provider, factory)
}

func (t *tour) serveFactory() (*url.URL, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	web := &http.Server{Handler: t.factory, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = web.Serve(listener) }()
	t.stop = append(t.stop, func() { _ = web.Close() })
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}, nil
}

// provider serves the RPCs inside the program, as the program does without --provider.
func (t *tour) provider(nas *sim.Server) (omni.Backend, error) {
	settings := map[string]string{
		"TRUENAS_URL": nas.URL, "TRUENAS_FINGERPRINT": nas.Fingerprint, "TRUENAS_USERNAME": sim.DefaultUser, "TRUENAS_API_KEY": sim.DefaultAPIKey,
		"PROVIDER_ID": "omni." + demoID, "PROVIDER_DATASET": "tank/virtrigaud", "PROVIDER_IMAGES_ALLOW_ADDRESSES": "127.0.0.0/8",
	}
	cfg, err := config.Load(nil, func(name string) (string, bool) { text, ok := settings[name]; return text, ok })
	if err != nil {
		return omni.Backend{}, err
	}
	watching, err := observe.New(context.Background(), program.BuildOf("demo", version, commit), func(string) (string, bool) { return "", false })
	if err != nil {
		return omni.Backend{}, err
	}
	t.watching, t.counted = watching, newAdapterMetrics()
	watching.Metrics.Register(t.counted)
	client, closeAll, err := serveInside(cfg, zap.NewNop(), watching)
	if err != nil {
		return omni.Backend{}, err
	}
	t.stop = append(t.stop, func() { _ = closeAll() })
	return omni.Backend{Name: unnamed, Client: client}, nil
}

// adapt runs the adapter in the background.
func (t *tour) adapt(provider omni.Backend, factory *url.URL) error {
	schematics, err := imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: factory.String()})
	if err != nil {
		return err
	}
	p, err := omni.New(omni.Config{
		ID: demoID, Providers: []omni.Backend{provider}, State: t.omni, Factory: schematics, Origin: "omni.example",
		Pace: omni.Pace{Poll: 100 * time.Millisecond}, HealthInterval: time.Second, WatchInterval: time.Second, StaticHostname: true, Hooks: t.counted.hooks(),
	})
	if err != nil {
		return err
	}
	t.counted.working.Store(p)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = p.Run(ctx); close(ended) }()
	t.stop = append(t.stop, func() { cancel(); <-ended })
	return nil
}

func (t *tour) close() {
	for i := len(t.stop) - 1; i >= 0; i-- {
		t.stop[i]()
	}
}
