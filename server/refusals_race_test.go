package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
)

// overtaken is a call during which another client changes the NAS.
type overtaken struct {
	name  string
	ready func(r *refusing)
	at    string // the suffix of the method at whose first call the change happens
	do    func(r *refusing)
	call  func(r *refusing) error
	code  codes.Code
	says  []string
}

// TestOvertakenCalls changes the NAS during a call, which must be refused. The caller can retry.
func TestOvertakenCalls(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range overtakenCalls() {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				r := newRefusing(t, release)
				if tt.ready != nil {
					tt.ready(r)
				}
				err := r.during(tt)
				if status.Code(err) != tt.code {
					t.Fatalf("%v; want %v", err, tt.code)
				}
				for _, text := range tt.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("%q does not say %q", err, text)
					}
				}
			})
		}
	}
}

func (r *refusing) during(o overtaken) error {
	r.Helper()
	done := false
	r.nas.OnCall(func(_ int, method string) {
		if !done && strings.HasSuffix(method, o.at) {
			done = true
			o.do(r)
		}
	})
	err := o.call(r)
	r.nas.OnCall(nil)
	if !done {
		r.Fatalf("%v; the call made no %s", err, o.at)
	}
	return err
}

func overtakenCalls() []overtaken {
	return []overtaken{
		{"the image is removed before it is cloned", func(r *refusing) { must(r.T, deleteVM(r.id)(r.Context(), r.client)) }, "snapshot.clone",
			func(r *refusing) { must(r.T, r.nas.RemoveDataset("tank/templates/gold")) },
			func(r *refusing) error {
				req := good()
				req.Name, req.PlacementJson = "web-2", ""
				_, err := r.client.Create(r.Context(), req)
				return err
			}, codes.Aborted, []string{"tank/templates/gold@v1", "removed"}},
		{"the VM is started while it is reverted", func(r *refusing) { must(r.T, r.snapshot(r.id, "s1", nil)) }, "snapshot.rollback",
			func(r *refusing) { must(r.T, r.nas.StartVM("web_1")) },
			func(r *refusing) error { return r.revert("s1") }, codes.FailedPrecondition, []string{"web-1", "was started while its disks were reverted"}},
		{"the VM is started while it is changed", nil, "vm.update", func(r *refusing) { must(r.T, r.nas.StartVM("web_1")) },
			func(r *refusing) error { return r.reconfigure(r.id, desired(4, 2048, 20, sameDisks)) }, codes.Aborted, []string{"web-1", "was started while it was changed"}},
	}
}

// beating makes the lock dataset of a live replica.
func (r *refusing) beating(name string) {
	r.Helper()
	for i := range name {
		if name[i] == '/' {
			_ = r.nas.AddDataset(name[:i], nil) // Some of its parents exist.
		}
	}
	must(r.T, r.nas.AddDataset(name, map[string]string{
		"virtrigaud:provider": "test", "virtrigaud:worker": "replica-2", "virtrigaud:beat": fmt.Sprint(time.Now().UnixMilli()),
	}))
}

// Objects of another live replica stay untouched.
func TestLocksOfAnotherReplica(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range []struct {
			name, lock string
			ready      func(r *refusing)
			call       func(r *refusing) error
			says       string
		}{
			{"Create of what an earlier attempt left", "tank/virtrigaud/staging/promote-web_2", func(r *refusing) {
				must(r.T, r.nas.AddDataset("tank/virtrigaud/vms/web_2", map[string]string{
					"virtrigaud:provider": "test", "virtrigaud:name": "web-2", "virtrigaud:machine": idOfWeb2, "virtrigaud:dataset": "tank/virtrigaud/vms/web_2"}))
			}, func(r *refusing) error {
				req := good()
				req.Name, req.PlacementJson = "web-2", ""
				_, err := r.client.Create(r.Context(), req)
				return err
			}, "web-2"},
			{"a revert under snapshots of others", "tank/virtrigaud/staging/promote-web_1", func(r *refusing) {
				must(r.T, r.snapshot(r.id, "s1", nil))
				must(r.T, r.nas.AddSnapshot("tank/virtrigaud/vms/web_1/root@"+othersSnapshot))
			}, func(r *refusing) error { return r.revert("s1") }, "web_1"},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				r := newRefusing(t, release)
				tt.ready(r)
				r.beating(tt.lock)
				err := tt.call(r)
				if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want Aborted with %q", err, tt.says)
				}
			})
		}
	}
}

// One doctor at a time removes leftovers, and none while the pool is unknown.
func TestDoctorsWait(t *testing.T) {
	t.Parallel()
	w := newDoctorTest(t, "25.10")
	w.dataset("tank/virtrigaud/staging/left", nil)
	_, provider := serve(t, w.api)
	r := &refusing{T: t, nas: w.nas}
	r.beating("tank/virtrigaud/staging/doctor")
	before := w.nas.State()
	if _, err := provider.RemoveLeftovers(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "another doctor is running") {
		t.Errorf("got %v", err)
	}
	if lines := changes(t, before, w.nas.State()); lines != "" {
		t.Errorf("the NAS changed:\n%s", lines)
	}
	_, away := serve(t, w.api, func(c *server.Config) { c.Dataset = "nope/virtrigaud" })
	if _, err := away.Leftovers(t.Context(), 0); err == nil || !strings.Contains(err.Error(), `pool "nope"`) {
		t.Errorf("without the pool: %v", err)
	}
}

// A VM that TrueNAS reports as stopped, but refuses to start because it runs, is reported as an error, not as running.
func TestPowerOnOfAVMReportedAsActive(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			r := newRefusing(t, release)
			r.nas.Inject(sim.Fault{Method: "vm.start", Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] VM is already running"}})
			_, err := r.client.Power(t.Context(), &providerv1.PowerRequest{Id: r.id, Op: providerv1.PowerOp_POWER_OP_ON})
			if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "reports it as active") {
				t.Errorf("got %v", err)
			}
			must(t, power(providerv1.PowerOp_POWER_OP_ON)(t.Context(), r.client))
		})
	}
}

// An image that VMs use is not prepared again.
func TestImagesAreNotForced(t *testing.T) {
	t.Parallel()
	r := newRefusing(t, "25.10")
	web, _ := serveImage(t)
	job := web.job(web.checksum())
	resp, err := prepare(t, r.client, job)
	must(t, err)
	finish(t, r.client, resp.GetTask())
	req := good()
	req.Name, req.PlacementJson, req.ImageJson = "web-5", "", fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
	_, err = r.client.Create(t.Context(), req)
	must(t, err)
	before := r.nas.State()
	forced := strings.Replace(job, `"prepare":{`, `"prepare":{"force":true,`, 1)
	again, err := prepare(t, r.client, forced)
	must(t, err)
	finish(t, r.client, again.GetTask())
	_, err = prepare(t, r.client, forced) // The failure is reported to the next caller.
	refusedWith(t, err, "FailedPrecondition", "image_json.prepare.force: "+strings.TrimSuffix(resp.GetPreparedImagePath(), "@ready"))
	if lines := changes(t, before, r.nas.State()); lines != "" {
		t.Errorf("the NAS changed:\n%s", lines)
	}
}
