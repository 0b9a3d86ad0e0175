package soak

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// world is a NAS with three provider processes (two replicas of the provider "east" and one of "west"), a fourth one of another
// cluster, Omni, and all their clients.
type world struct {
	t       *testing.T
	seed    int64
	release string
	nas     *sim.Sim
	east    []*process
	west    []*process
	other   *process // of another cluster, with the id of east
	omni    *omniSide
	workers []*worker
	faults  *faults
	images  *httptest.Server
	packed  []byte // the served image
	sum     string // its SHA-256
	claims  string
	foreign sim.State // the initial state of objects that the providers must not change

	mu       sync.Mutex
	existing map[string]int // ids of the VMs that must exist, with their generation
	counts   map[string]int // operations by name
	codes    map[string]int // responses by code
	slowest  string
	longest  time.Duration
	broken   bool
}

// imageBytes is the size of the images and of the template.
const imageBytes = 4 << 20

// The beginnings of the sources of root disks.
const (
	heldByImage    = "an image that is served"
	heldByTemplate = "a template by hand"
)

func newWorld(t *testing.T, release string, seed int64) *world {
	w := &world{t: t, seed: seed, release: release, claims: t.TempDir(), existing: map[string]int{}, counts: map[string]int{}, codes: map[string]int{}}
	var address *sim.Server
	w.nas, address = truenastest.Serve(t, func(c *sim.Config) {
		c.Release, c.Clock, c.Seed, c.MemoryBytes = release, fast{time.Now()}, seed, 256<<30
	})
	w.makeByHand()
	w.serveImages()
	if err := os.Mkdir(filepath.Join(w.claims, "stage"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, instance := range []string{"east-1", "east-2"} {
		w.east = append(w.east, newProcess(t, address, "production", "east", instance, w.claims))
	}
	w.west = []*process{newProcess(t, address, "production", "west", "west-1", w.claims)}
	w.omni = newOmniSide(w, w.west[0].client)
	w.faults = &faults{nas: w.nas, processes: append(w.east[:2:2], w.west...), adapter: w.omni.restart, failed: w.violated, count: map[string]int{}}
	w.makeAnchors()
	w.other = newProcess(t, address, "development", "east", "other-1", w.claims)
	w.faults.processes = append(w.faults.processes, w.other)
	for i := range 4 {
		w.workers = append(w.workers, newWorker(w, fmt.Sprintf("e%d", i), w.east))
	}
	for i := range 2 {
		w.workers = append(w.workers, newWorker(w, fmt.Sprintf("w%d", i), w.west))
	}
	w.nas.OnCall(w.faults.called)
	return w
}

// makeByHand creates objects of other owners: VMs, volumes, files and snapshots, some of them below the providers' datasets.
func (w *world) makeByHand() {
	content := func(volume, text string) func() error {
		return func() error { _, err := w.nas.WriteVolume(volume, []byte(text), 0); return err }
	}
	for _, step := range []func() error{
		func() error { return w.nas.AddDataset("tank/media", map[string]string{"user:note": "do not touch"}) },
		func() error { return w.nas.WriteFile("/mnt/tank/media/film", []byte("a film")) },
		func() error { return w.nas.AddVolume("tank/db", 64<<20, nil) },
		content("tank/db", "a database"),
		func() error { return w.nas.AddSnapshot("tank/db@daily") },
		func() error { return w.nas.AddVM("db", 2, 1024, "tank/db") },
		func() error { return w.nas.StartVM("db") },
		func() error { return w.nas.AddVolume("tank/legacy", 64<<20, nil) },
		func() error { return w.nas.AddVM("legacy", 1, 512, "tank/legacy") },
		func() error { return w.nas.AddDataset("tank/templates", nil) },
		func() error { return w.nas.AddVolume("tank/templates/gold", imageBytes, nil) },
		content("tank/templates/gold", heldByTemplate),
		func() error { return w.nas.AddSnapshot("tank/templates/gold@v1") },
		func() error { return w.nas.AddDataset(root, nil) },
		func() error { return w.nas.AddDataset(root+"/notes", nil) },
		func() error { return w.nas.WriteFile("/mnt/"+root+"/notes/list", []byte("a list")) },
		func() error { return w.nas.AddDataset(root+"/vms", nil) },
		func() error { return w.nas.AddDataset(root+"/vms/db", nil) },
	} {
		if err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.foreign = w.nas.State()
}

// serveImages serves one small disk under many names. Each name is a separate image.
func (w *world) serveImages() {
	disk := make([]byte, imageBytes)
	random := rand.New(rand.NewPCG(uint64(w.seed), 1))
	for i := range disk[:256<<10] {
		disk[i] = byte(random.Uint32())
	}
	copy(disk, heldByImage)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(disk) // A buffer has no errors.
	_ = z.Close()
	sum := sha256.Sum256(packed.Bytes())
	w.packed, w.sum = packed.Bytes(), hex.EncodeToString(sum[:])
	w.images = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.ServeContent(rw, r, "disk.raw.gz", time.Unix(1, 0), bytes.NewReader(w.packed))
	}))
	w.t.Cleanup(w.images.Close)
}

// anchor begins the names of VMs that each provider has from the beginning to the end. The other provider's operations on them
// must fail.
const anchor = "anchor-"

func (w *world) makeAnchors() {
	for _, p := range []*process{w.east[0], w.west[0]} {
		m := &machine{name: anchor + p.id, cpus: 1, memory: 256, root: disk{name: rootName, gib: 1}, source: blank, nics: 1}
		resp, err := p.client.Create(w.t.Context(), m.create(""))
		if err != nil {
			w.t.Fatal(err)
		}
		w.addExisting(resp.GetId())
	}
}

func (w *world) addExisting(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.existing[id]++
}

func (w *world) removeExisting(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.existing, id)
}

func (w *world) existingIDs() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]int, len(w.existing))
	for id, n := range w.existing {
		out[id] = n
	}
	return out
}

func (w *world) counted(in map[string]int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in[name]++
}

// took records the slowest operation.
func (w *world) took(what string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d > w.longest {
		w.slowest, w.longest = what, d
	}
}

// violated records a violation of an invariant.
func (w *world) violated(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
}

func (w *world) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// poll acts like the manager: it describes every VM, lists VMs and validates, until ctx ends. Describe must never report an
// existing VM as absent, because the manager would create it again.
func (w *world) poll(ctx context.Context, p *process) {
	for ctx.Err() == nil && !w.stopped() {
		began := time.Now()
		if resp, err := p.client.Validate(ctx, &providerv1.ValidateRequest{}); err == nil && !resp.GetOk() {
			w.violated("%s: Validate says that the configuration cannot work: %s", p.instance, resp.GetMessage())
		} else {
			w.judge(ctx, p.instance+": Validate", err)
		}
		for id := range w.existingIDs() {
			before := w.existingIDs()[id]
			if before == 0 {
				continue // The VM is being deleted.
			}
			one, cancel := context.WithTimeout(ctx, patience)
			resp, err := p.client.Describe(one, &providerv1.DescribeRequest{Id: id})
			cancel()
			if err == nil && !resp.GetExists() && w.existingIDs()[id] == before {
				w.violated("%s: Describe says that VM %s is absent, and it must exist", p.instance, id)
			}
			w.judge(ctx, p.instance+": Describe", err)
		}
		one, cancel := context.WithTimeout(ctx, patience)
		_, err := p.client.ListVMs(one, &providerv1.ListVMsRequest{})
		cancel()
		w.judge(ctx, p.instance+": ListVMs", err)
		w.counted(w.counts, "poll of all VMs")
		pause(ctx, afterLook(began, 50*time.Millisecond))
	}
}

// afterLook returns the pause after a check that began at began. On a slow machine the checks must not displace the operations.
func afterLook(began time.Time, least time.Duration) time.Duration {
	return min(max(least, 3*time.Since(began)), 10*least)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func hasAny(name string, prefixes ...string) bool {
	for _, p := range prefixes {
		if name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}
