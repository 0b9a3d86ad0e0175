package truenas_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// watcher records the calls of the hooks.
type watcher struct {
	mu    sync.Mutex
	jobs  []string
	bytes map[string]int
	spans []string
	ended chan struct{} // a job has ended
}

type spanKey struct{}

func (w *watcher) hooks() truenas.Hooks {
	return truenas.Hooks{
		OnJob: func(j truenas.Job) {
			w.mu.Lock()
			w.jobs = append(w.jobs, j.Method+" "+j.State)
			w.mu.Unlock()
			w.ended <- struct{}{}
		},
		OnBytes: func(method string, n int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.bytes[method] += n
		},
		Trace: func(ctx context.Context, name string) (context.Context, func(error)) {
			if parent, ok := ctx.Value(spanKey{}).(string); ok {
				name = parent + " > " + name
			}
			return context.WithValue(ctx, spanKey{}, name), func(err error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if err != nil {
					name += " failed"
				}
				w.spans = append(w.spans, name)
			}
		},
	}
}

// watched connects a client with hooks to a simulated NAS.
func watched(t *testing.T) (*truenas.Client, *sim.Sim, *watcher) {
	t.Helper()
	nas := must(sim.New(sim.Config{}))(t)
	t.Cleanup(nas.Close)
	served := must(sim.Serve(nas, "127.0.0.1:0"))(t)
	t.Cleanup(served.Close)
	w := &watcher{bytes: map[string]int{}, ended: make(chan struct{}, 16)}
	c := must(truenas.New(truenas.Config{URL: served.URL, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Fingerprint: served.Fingerprint, Hooks: w.hooks()}))(t)
	t.Cleanup(func() { _ = c.Close() })
	ok(t, c.Connect(bounded(t)))
	if s := c.Status(); !strings.EqualFold(strings.ReplaceAll(s.Certificate, ":", ""), served.Fingerprint) || s.Trust != truenas.TrustPinned {
		t.Errorf("the certificate is reported as %s, %s; it is %s", s.Certificate, s.Trust, served.Fingerprint)
	}
	return c, nas, w
}

func TestHooksHearOfFilesAndJobs(t *testing.T) {
	c, nas, w := watched(t)
	ok(t, nas.AddDataset("tank/files", nil))
	body := bytes.Repeat([]byte("x"), 300_000)
	ok(t, c.Files.Put(bounded(t), "/mnt/tank/files/a", 0o600, bytes.NewReader(body), int64(len(body)), nil))
	file := must(c.Files.Get(bounded(t), "/mnt/tank/files/a"))(t)
	if got := must(io.ReadAll(file))(t); !bytes.Equal(got, body) {
		t.Errorf("got %d bytes", len(got))
	}
	_ = file.Close()
	<-w.ended
	<-w.ended
	_, err := c.VMs.Get(bounded(t), 77)
	if !errors.Is(err, truenas.ErrNotFound) {
		t.Fatalf("a missing VM: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes["filesystem.put"] != len(body) || w.bytes["filesystem.get"] != len(body) {
		t.Errorf("bytes: %v", w.bytes)
	}
	if want := []string{"filesystem.put SUCCESS", "filesystem.get SUCCESS"}; !slices.Equal(w.jobs, want) {
		t.Errorf("jobs: %q", w.jobs)
	}
	for _, want := range []string{"filesystem.put", "filesystem.put > job filesystem.put", "filesystem.get", "filesystem.get > core.download", "vm.get_instance failed"} {
		if !slices.Contains(w.spans, want) {
			t.Errorf("no span %q among %q", want, w.spans)
		}
	}
	if running := c.RunningJobs(); len(running) != 0 {
		t.Errorf("finished jobs are reported as running: %+v", running)
	}
}

func TestHookReportsUnawaitedJob(t *testing.T) {
	c, nas, w := watched(t)
	ok(t, nas.AddVM("web", 1, 512))
	vm := must(c.VMs.ByName(bounded(t), "web"))(t)
	ok(t, c.VMs.Start(bounded(t), vm.ID, false))
	must(c.VMs.StopStart(bounded(t), vm.ID, truenas.StopOptions{ForceAfterTimeout: true}))(t)
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := []string{"vm.stop SUCCESS"}; !slices.Equal(w.jobs, want) {
		t.Errorf("jobs: %q", w.jobs)
	}
}
