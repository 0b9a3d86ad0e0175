package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// world is shared by all scenarios: the cluster, its node, and the sources of images and staged disks.
type world struct {
	s        *settings
	timeline *timeline
	names    *names
	cluster  *cluster
	api      client.Client
	node     *node
	sources  *sources

	addresses atomic.Int32 // number of assigned NAS addresses
	processes processes
	stopNode  context.CancelFunc
	nodeDone  chan struct{}
}

func newWorld(s *settings, out io.Writer, began time.Time) *world {
	return &world{s: s, timeline: &timeline{out: out, began: began}, nodeDone: make(chan struct{})}
}

// dir returns a folder beside the logs for one purpose.
func (w *world) dir(parts ...string) string {
	dir := filepath.Join(append([]string{w.s.logs, "run"}, parts...)...)
	_ = os.MkdirAll(dir, 0o755) // later use reports a failure
	return dir
}

// claim returns the folder of a volume.
func (w *world) claim(ns, name string) string {
	dir := w.dir("claims", ns, name)
	_ = os.Chmod(dir, 0o777) // the pod has another user
	return dir
}

// address returns an unused address for a NAS.
func (w *world) address() string { return network + strconv.Itoa(int(40+w.addresses.Add(1))) }

func (w *world) launch(name string, cmd *exec.Cmd) error {
	p, err := launch(name, w.s.logs, cmd)
	if err == nil {
		w.processes.add(p)
	}
	return err
}

func (w *world) start(ctx context.Context) (err error) {
	for _, dir := range []string{w.s.logs, w.dir("cluster")} { // pods run as another user and need access
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	if w.names, err = newNames(filepath.Join(w.dir("cluster"), "hosts")); err != nil {
		return err
	}
	if w.sources, err = startSources(); err != nil {
		return err
	}
	w.timeline.note("cluster", "etcd and kube-apiserver start")
	if w.cluster, err = startCluster(ctx, w); err != nil {
		return err
	}
	if w.api, err = client.New(w.cluster.config, client.Options{Scheme: scheme.Scheme}); err != nil {
		return err
	}
	if err := w.define(ctx); err != nil {
		return err
	}
	if err := startManager(w); err != nil {
		return err
	}
	w.node = newNode(w)
	nodeContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stopNode = stop
	go func() {
		defer close(w.nodeDone)
		w.node.run(nodeContext)
	}()
	w.timeline.note("cluster", "VirtRigaud's manager runs")
	return nil
}

// define applies VirtRigaud's resource definitions and waits until the API server serves them.
func (w *world) define(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(w.s.crds, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no definitions in %s", w.s.crds)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := apply(ctx, w.api, "", string(b)); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return poll(ctx, time.Minute, "the kinds are served", func() (bool, string) {
		_, err := list(ctx, w.api, "default", "VirtualMachine")
		return err == nil, fmt.Sprint(err)
	})
}

// play runs the scenarios, some concurrently, and returns the number of failures.
func (w *world) play(ctx context.Context, chosen []scenario) int {
	results := make([]result, len(chosen))
	slots := make(chan struct{}, w.s.parallel)
	var running sync.WaitGroup
	for i, sc := range chosen {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			results[i] = w.one(ctx, sc)
		})
	}
	running.Wait()
	failed := 0
	fmt.Fprintf(w.timeline.out, "\n%-24s %-8s %s\n", "scenario", "time", "result")
	for _, r := range results {
		text := "ok"
		if r.err != nil {
			failed++
			text = strings.ReplaceAll(r.err.Error(), "\n", "\n  ")
		}
		fmt.Fprintf(w.timeline.out, "%-24s %-8s %s\n", r.name, r.took.Round(time.Second), text)
	}
	return failed
}

type result struct {
	name string
	took time.Duration
	err  error
}

func (w *world) one(ctx context.Context, sc scenario) result {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	began := time.Now()
	st := &stage{w: w, name: sc.name, ns: sc.name}
	err := st.begin(ctx)
	if err == nil {
		err = sc.play(ctx, st)
	}
	if err != nil {
		st.note("FAILED: %v", err)
		st.dump(context.WithoutCancel(ctx))
	}
	st.end(context.WithoutCancel(ctx))
	return result{sc.name, time.Since(began), err}
}

// close stops everything. It may be called twice.
func (w *world) close() {
	if w.stopNode != nil {
		w.stopNode()
		<-w.nodeDone
		w.stopNode = nil
	}
	w.processes.stop()
}

// timeline prints events with their times.
type timeline struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func (t *timeline) note(who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%7.1fs  %-12s %s\n", time.Since(t.began).Seconds(), who, fmt.Sprintf(format, args...))
}
