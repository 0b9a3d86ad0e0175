package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

const (
	staging = "tank/virtrigaud/staging"
	home    = "tank/virtrigaud/vms/web_1"
	lock    = staging + "/promote-web_1"
)

// replica is a process with leases on a NAS. end ends the process.
type replica struct {
	*Leases
	t   *testing.T
	api *truenas.Client
	nas *sim.Sim
	end context.CancelFunc
}

func newReplica(t *testing.T) replica {
	t.Helper()
	api, nas := truenastest.New(t)
	return replica{t: t, api: api, nas: nas}.start("one")
}

// start is another replica of the same NAS, or the same one after its restart.
func (r replica) start(instance string) replica {
	layout := spec.Layout{Dataset: "tank/virtrigaud"}
	claims := ownership.NewClaims(r.api, "p", ownership.Installation{}, layout, nil, zap.NewNop())
	process, end := context.WithCancel(r.t.Context())
	r.end = end
	r.Leases = New(process, r.api, Config{Provider: "p", Instance: instance, Age: time.Minute, Layout: layout, Claims: claims})
	return r
}

func (r replica) exists(dataset string) bool {
	r.t.Helper()
	_, err := r.api.Datasets.Get(r.t.Context(), dataset)
	if err != nil && !errors.Is(err, truenas.ErrNotFound) {
		r.t.Fatal(err)
	}
	return err == nil
}

// make makes a staging dataset with these properties beside those of a lease.
func (r replica) make(dataset string, props map[string]string) truenas.Dataset {
	r.t.Helper()
	if err := r.Make(r.t.Context(), dataset, "web-1", props); err != nil {
		r.t.Fatal(err)
	}
	d, err := r.api.Datasets.Get(r.t.Context(), dataset)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// TestAlive: a heartbeat counts for as long as a lease, also one of a clock that is ahead by less than that.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(t.Context(), nil, Config{Instance: "one", Age: time.Minute})
		for _, tt := range []struct {
			worker string
			beat   string
			want   bool
		}{
			{"two", ago(0), true}, {"two", ago(time.Minute - time.Millisecond), true}, {"two", ago(time.Minute), false}, {"two", ago(time.Hour), false},
			{"two", ago(-time.Minute + time.Millisecond), true}, {"two", ago(-time.Minute), false},
			{"one", ago(0), false}, {"two", "", false}, {"two", "now", false},
		} {
			d := truenas.Dataset{LocalUserProperties: map[string]string{propWorker: tt.worker, PropBeat: tt.beat}}
			if got := l.Alive(&d); got != tt.want {
				t.Errorf("%s at %s: alive is %t", tt.worker, tt.beat, got)
			}
		}
		if l.Age() != time.Minute {
			t.Errorf("a lease lasts %v", l.Age())
		}
	})
}

func ago(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

// TestLockOfAVM: one replica at a time holds the lock of a VM. The lock of a dead one is taken over.
func TestLockOfAVM(t *testing.T) {
	t.Parallel()
	one := newReplica(t)
	two := one.start("two")
	ctx := t.Context()
	held := func() string {
		locked, err := two.Locked(ctx, home)
		elsewhere, err2 := two.HeldByOther(ctx, home)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return fmt.Sprint(locked, elsewhere)
	}
	if got := held(); got != "false false" {
		t.Errorf("without a lock: %s", got)
	}
	release, err := one.Reserve(ctx, home, "id-1", "it is being made")
	if err != nil {
		t.Fatal(err)
	}
	d, err := one.api.Datasets.Get(ctx, lock)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{spec.PropVM: "id-1", spec.PropProvider: "p", spec.PropName: "web_1", propWorker: "one"} {
		if got := d.LocalUserProperties[key]; got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
	if got := held(); got != "true true" {
		t.Errorf("with a lock: %s", got)
	}
	if _, err := two.LockVM(ctx, home, "it is being copied"); !errors.Is(err, truenas.ErrBusy) || !strings.HasPrefix(err.Error(), "web_1: it is being copied by another replica") {
		t.Errorf("a lock that another replica holds: %v", err)
	}
	if err := release(); err != nil || one.exists(lock) {
		t.Errorf("after the release: %v", err)
	}
	one.make(lock, map[string]string{propWorker: "dead", PropBeat: ago(time.Hour)})
	if got := held(); got != "true false" {
		t.Errorf("with the lock of a dead replica: %s", got)
	}
	release, err = two.LockVM(ctx, home, "it is being copied")
	if err != nil {
		t.Fatalf("the lock of a dead replica: %v", err)
	}
	if err := release(); err != nil || one.exists(lock) {
		t.Errorf("after the release: %v", err)
	}
}

// TestFailuresOfALock: a lock is not held after any failure, and each failure is reported.
func TestFailuresOfALock(t *testing.T) {
	for name, tt := range map[string]struct {
		fault sim.Fault
		left  bool // a lock of a dead replica
	}{
		"it cannot be made":                        {sim.Fault{Method: "pool.dataset.create", Nth: 2, Then: sim.Refuse}, false},
		"the root of the tree cannot be made":      {sim.Fault{Method: "pool.dataset.create", Then: sim.Refuse}, false},
		"the holder cannot be read":                {sim.Fault{Method: "pool.dataset.get_instance", Then: sim.Refuse}, true},
		"the lock of the dead cannot be destroyed": {sim.Fault{Method: "pool.dataset.delete", Then: sim.Refuse}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newReplica(t)
			if tt.left {
				one.make(lock, map[string]string{propWorker: "dead", PropBeat: ago(time.Hour)})
			}
			one.nas.Inject(tt.fault)
			release, err := one.LockVM(t.Context(), home, "it is being copied")
			if err == nil || release != nil || !strings.Contains(err.Error(), "Simulated fault") {
				t.Errorf("got %v", err)
			}
			if one.exists(lock) != tt.left {
				t.Errorf("the lock exists: %t", !tt.left)
			}
		})
	}
}

// TestReleaseRunsTheLastStep before the staging dataset goes, and leaves the dataset when the step fails or the process ends.
func TestReleaseRunsTheLastStep(t *testing.T) {
	one := newReplica(t)
	for _, tt := range []struct {
		name  string
		first func(context.Context) error
		ended bool
		says  string
	}{
		{"no step", nil, false, ""},
		{"a step", func(context.Context) error { return nil }, false, ""},
		{"a step that fails", func(context.Context) error { return backoff.Permanent(errors.New("failed")) }, false, "failed"},
		{"the end of the process", func(context.Context) error { t.Error("the step ran"); return nil }, true, "the provider stops before it removes " + staging + "/key"},
	} {
		r := one.start("one")
		r.make(staging+"/key", nil)
		release := r.Heartbeat(t.Context(), staging+"/key", tt.first)
		if tt.ended {
			r.end()
		}
		err := release()
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) || r.exists(staging+"/key") != (tt.says != "") {
			t.Errorf("%s: got %v; the dataset exists: %t", tt.name, err, r.exists(staging+"/key"))
		}
		if tt.says != "" {
			if err := r.nas.RemoveDataset(staging + "/key"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestHeartbeatsRenewALease, so that other replicas see a recent one.
func TestHeartbeatsRenewALease(t *testing.T) {
	one := newReplica(t)
	one.age = 30 * time.Millisecond
	first := one.make(staging+"/key", nil).LocalUserProperties[PropBeat]
	release := one.Heartbeat(t.Context(), staging+"/key", nil)
	beat := first
	for deadline := time.Now().Add(10 * time.Second); beat == first && time.Now().Before(deadline); {
		d, err := one.api.Datasets.Get(t.Context(), staging+"/key")
		if err != nil {
			t.Fatal(err)
		}
		beat = d.LocalUserProperties[PropBeat]
	}
	if beat == first {
		t.Error("the heartbeat stays the same")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

// TestDropStaged removes the upload of a staging dataset with it. A name that is not of an upload beside it is left alone.
func TestDropStaged(t *testing.T) {
	one := newReplica(t)
	for uploads, goes := range map[string]bool{staging + "/upload-1": true, "tank/mine": false, staging + "/other": false, "": false} {
		switch uploads {
		case "":
		case "tank/mine":
			if err := one.nas.AddDataset(uploads, nil); err != nil {
				t.Fatal(err)
			}
		default:
			one.make(uploads, nil)
		}
		d := one.make(staging+"/key", map[string]string{PropUploads: uploads})
		if err := one.DropStaged(t.Context(), d); err != nil || one.exists(staging+"/key") {
			t.Errorf("%s: got %v", uploads, err)
		}
		if uploads != "" && one.exists(uploads) == goes {
			t.Errorf("%s exists: %t", uploads, !goes)
		}
	}
	one.make(staging+"/upload-1", nil)
	d := one.make(staging+"/key", map[string]string{PropUploads: staging + "/upload-1"})
	one.nas.Inject(sim.Fault{Method: "pool.dataset.delete", Then: sim.Refuse})
	if err := one.DropStaged(t.Context(), d); err == nil || !one.exists(staging+"/key") {
		t.Errorf("an upload that cannot be destroyed: %v; the dataset that names it exists: %t", err, one.exists(staging+"/key"))
	}
}

// TestUploadable: an upload into a dataset that is gone would leave a folder in its place.
func TestUploadable(t *testing.T) {
	one := newReplica(t)
	one.make(staging+"/key", nil)
	ctx := t.Context()
	if err := Uploadable(ctx, one.api, staging+"/key"); err != nil {
		t.Error(err)
	}
	if err := Uploadable(ctx, one.api, staging+"/gone"); !errors.Is(err, truenas.ErrNotFound) || !strings.Contains(err.Error(), staging+"/gone was destroyed before the upload") {
		t.Errorf("got %v", err)
	}
	one.nas.Inject(sim.Fault{Method: "pool.dataset.get_instance", Then: sim.Refuse})
	if err := Uploadable(ctx, one.api, staging+"/key"); err == nil || errors.Is(err, truenas.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestFolderInThePlaceOfADataset: a folder is named only if it is there and no dataset is.
func TestFolderInThePlaceOfADataset(t *testing.T) {
	t.Parallel()
	one := newReplica(t)
	one.make(staging+"/key", nil)
	ctx := t.Context()
	exists := fmt.Errorf("create: %w", truenas.ErrExists)
	if err := one.api.Files.Put(ctx, "/mnt/"+staging+"/late/file", 0o600, strings.NewReader("late"), 4, nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dataset string
		err     error
		folder  bool
	}{
		{staging + "/late", exists, true}, {staging + "/late", truenas.ErrBusy, false}, {staging + "/key", exists, false}, {staging + "/gone", exists, false},
	} {
		err := InTheWay(ctx, one.api, tt.dataset, tt.err)
		if strings.Contains(err.Error(), "left the folder /mnt/"+tt.dataset) != tt.folder || !tt.folder && !errors.Is(err, tt.err) {
			t.Errorf("%s, %v: got %v", tt.dataset, tt.err, err)
		}
	}
	if err := one.api.Files.Put(ctx, "/mnt/"+lock+"/file", 0o600, strings.NewReader("late"), 4, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := one.LockVM(ctx, home, "it is being copied"); err == nil || !strings.Contains(err.Error(), "left the folder /mnt/"+lock) {
		t.Errorf("a folder in the place of a lock: %v", err)
	}
	if IgnoreExists(exists) != nil || !errors.Is(IgnoreExists(truenas.ErrBusy), truenas.ErrBusy) {
		t.Error("errors other than an existing dataset count")
	}
}

// TestUndoing outlasts its caller, and ends with the process.
func TestUndoing(t *testing.T) {
	one := newReplica(t)
	caller, leave := context.WithCancel(t.Context())
	leave()
	ctx, cancel := one.Undoing(caller)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ctx.Err() != nil || !ok || time.Until(deadline) > undoTimeout {
		t.Errorf("got %v, until %v", ctx.Err(), deadline)
	}
	one.end()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("it outlasts the process")
	}
}
