//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

var (
	guestDir = flag.String("guest", "", "`folder` with the test guest's images")
	brief    = flag.Bool("brief", false, "leave out the guests that add releases and combinations")
)

// bootPatience is the time limit from the power button to the command line, on a busy machine.
const bootPatience = 4 * time.Minute

// site is a NAS with a hypervisor, and its provider.
type site struct {
	t       *testing.T
	title   string
	log     *timeline
	nas     *sim.Sim
	api     *truenas.Client
	qemu    *qemu.Hypervisor
	rpc     providerv1.ProviderClient
	heard   *heard
	release string
}

// option changes the configuration of a site.
type option func(*qemu.Options, *server.Config)

// newSite starts a NAS of a release. Everything ends with the test, and no process remains.
func newSite(t *testing.T, log *timeline, title, release string, options ...option) *site {
	t.Helper()
	s := &site{t: t, title: title, log: log, release: release, heard: &heard{lines: map[string][]string{}}}
	machines := qemu.Options{Datagram: s.heard.take}
	config := server.Config{
		ID: "e2e", Dataset: "tank/virtrigaud", DefaultNetwork: "br0",
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
	for _, option := range options {
		option(&machines, &config)
	}
	var err error
	if s.qemu, err = qemu.New(machines); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.qemu.Close()
		if left := s.qemu.Running(); len(left) > 0 {
			t.Errorf("processes remain: %v", left)
		}
	})
	s.api, s.nas = truenastest.New(t, func(c *sim.Config) { c.Release, c.Hypervisor = release, s.qemu })
	provider, err := server.New(s.api, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	s.rpc = servertest.Dial(t, provider.Register)
	return s
}

// finish waits for a task.
func (s *site) finish(task *providerv1.TaskRef) {
	s.t.Helper()
	for deadline := time.Now().Add(bootPatience); task.GetId() != ""; time.Sleep(200 * time.Millisecond) { // polls like a manager
		status, err := s.rpc.TaskStatus(s.t.Context(), &providerv1.TaskStatusRequest{Task: task})
		switch {
		case err != nil || status.GetError() != "":
			s.t.Fatalf("task %s: %s %v", task.GetId(), status.GetError(), err)
		case status.GetDone():
			return
		case time.Now().After(deadline):
			s.t.Fatalf("task %s is not done", task.GetId())
		}
	}
}

// describe returns the response of Describe for a VM.
func (s *site) describe(id string) *providerv1.DescribeResponse {
	s.t.Helper()
	vm, err := s.rpc.Describe(s.t.Context(), &providerv1.DescribeRequest{Id: id})
	if err != nil {
		s.t.Fatalf("Describe %s: %v", id, err)
	}
	return vm
}

// until polls a condition until it holds, as a user would.
func (s *site) until(what string, patience time.Duration, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// heard collects the messages that guests send over the network.
type heard struct {
	mu    sync.Mutex
	lines map[string][]string // by MAC: the sender's address and the line
}

// take parses one line of syslog, the protocol of the guest's messages.
func (h *heard) take(d qemu.Datagram) {
	_, line, ok := strings.Cut(string(d.Payload), "guest: ")
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines[d.MAC] = append(h.lines[d.MAC], d.From.Addr().String()+" "+strings.TrimSpace(line))
}

func (h *heard) of(mac string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.lines[mac]...)
}

// put stores a built file on the NAS, in a dataset of its own below tank.
func (s *site) put(name, dataset string) (path string) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(*guestDir, name))
	if err != nil {
		s.t.Fatalf("-guest names the folder of the files that cmd/internal/e2e/run builds: %v", err)
	}
	path = "/mnt/tank/" + dataset + "/" + name
	if err := errors.Join(s.nas.AddDataset("tank/"+dataset, nil), s.nas.WriteFile(path, content)); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// images serves the test guest's images over http.
func images(t *testing.T) *httptest.Server {
	t.Helper()
	if _, err := os.Stat(filepath.Join(*guestDir, "guest.qcow2.xz")); err != nil {
		t.Fatalf("-guest names the folder that truenas/sim/qemu/guest/build made: %v", err)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(*guestDir)))
	t.Cleanup(web.Close)
	return web
}

// timeline prints events with their times, and records the boot times of guests.
type timeline struct {
	begin time.Time
	mu    sync.Mutex
	words []word
}

type word struct {
	guest, way string
	took       time.Duration
}

func newTimeline() *timeline { return &timeline{begin: time.Now()} }

func (l *timeline) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Printf("%7.1fs  %s\n", time.Since(l.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (l *timeline) firstWord(guest, way string, took time.Duration) {
	l.say("%s: its first word, %.1fs after the request (%s)", guest, took.Seconds(), way)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words = append(l.words, word{guest, way, took})
}

func (l *timeline) summary() {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Printf("\n%-28s %-44s %s\n", "guest", "", "request to first word")
	for _, w := range l.words {
		fmt.Printf("%-28s %-44s %.1fs\n", w.guest, w.way, w.took.Seconds())
	}
}
