package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordination "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
)

// leases is the part of the Kubernetes API for leader election: one Lease, with versions.
type leases struct {
	mu      sync.Mutex
	lease   *coordination.Lease
	version int
	refuse  string // the holder whose writes are refused
}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case !strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/v1/namespaces/here/leases"):
		http.NotFound(w, r)
	case r.Method == http.MethodGet && l.lease == nil:
		l.fail(w, http.StatusNotFound, "NotFound")
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(l.lease)
	default:
		l.write(w, r)
	}
}

func (l *leases) write(w http.ResponseWriter, r *http.Request) {
	var asked coordination.Lease
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		l.fail(w, http.StatusBadRequest, "BadRequest")
		return
	}
	stale := l.lease != nil && asked.ResourceVersion != l.lease.ResourceVersion
	if stale || l.refuse != "" && asked.Spec.HolderIdentity != nil && *asked.Spec.HolderIdentity == l.refuse {
		l.fail(w, http.StatusConflict, "Conflict")
		return
	}
	l.version++
	asked.ResourceVersion = strconv.Itoa(l.version)
	l.lease = &asked
	_ = json.NewEncoder(w).Encode(l.lease)
}

func (l *leases) fail(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code})
}

func (l *leases) holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil || l.lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.lease.Spec.HolderIdentity
}

// steady is longer than any machine takes to renew a Lease, and brief is short enough for a test.
var (
	steady = leaseTimes{time.Minute, 40 * time.Second, 100 * time.Millisecond}
	brief  = leaseTimes{1200 * time.Millisecond, 800 * time.Millisecond, 100 * time.Millisecond}
)

// replica runs until its context ends. begun is closed when it becomes the leader.
func replica(ctx context.Context, api string, t leaseTimes) (begun chan struct{}, ended chan error) {
	begun, ended = make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- elect(ctx, &rest.Config{Host: api, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, "here", "adapter", t, func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return nil
		})
	}()
	return begun, ended
}

func TestOneLeader(t *testing.T) {
	cluster := &leases{}
	api := httptest.NewServer(cluster)
	defer api.Close()
	first, stopFirst := context.WithCancel(t.Context())
	defer stopFirst()
	firstBegun, firstEnded := replica(first, api.URL, steady)
	<-firstBegun
	second, stopSecond := context.WithCancel(t.Context())
	defer stopSecond()
	secondBegun, secondEnded := replica(second, api.URL, steady)
	select {
	case <-secondBegun:
		t.Fatal("both work")
	case <-time.After(500 * time.Millisecond): // Several times as long as a replica waits between two attempts.
	}
	stopFirst()
	if err := <-firstEnded; err != nil {
		t.Errorf("the first ended with %v", err)
	}
	<-secondBegun
	stopSecond()
	if err := <-secondEnded; err != nil {
		t.Errorf("the second ended with %v", err)
	}
	if holder := cluster.holder(); holder != "" {
		t.Errorf("%q still holds the Lease", holder)
	}
}

func TestReplicaEndsWithoutRenewal(t *testing.T) {
	cluster := &leases{}
	api := httptest.NewServer(cluster)
	defer api.Close()
	begun, ended := replica(t.Context(), api.URL, brief)
	<-begun
	holder := cluster.holder()
	cluster.mu.Lock()
	cluster.refuse = holder
	cluster.mu.Unlock()
	if err := <-ended; !errors.Is(err, errLeadershipLost) {
		t.Errorf("it ended with %v", err)
	}
}

func TestFollowerEndsWithoutError(t *testing.T) {
	cluster := &leases{}
	api := httptest.NewServer(cluster)
	defer api.Close()
	first, stopFirst := context.WithCancel(t.Context())
	begun, firstEnded := replica(first, api.URL, steady)
	<-begun
	second, stopSecond := context.WithCancel(t.Context())
	_, secondEnded := replica(second, api.URL, steady)
	stopSecond()
	if err := <-secondEnded; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	stopFirst()
	<-firstEnded
}

func TestElects(t *testing.T) {
	nothing := func(string) (string, bool) { return "", false }
	for election, want := range map[string]bool{"on": true, "off": false, "auto": false} {
		if got := elects(&options{election: election}, nothing); got != want {
			t.Errorf("%s: %v", election, got)
		}
	}
}
