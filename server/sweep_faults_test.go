package server_test

import (
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// fault is one disturbance of a call to the NAS.
type fault struct {
	name string
	// try runs the operation for the first time, with the fault at its n-th call.
	try func(t *testing.T, p *point, n int) error
	// refusal marks errors that the client classifies in the same way on every release.
	refusal bool
	job     bool     // only for calls that begin a job
	only    string   // only for this method; empty: any
	spares  []string // prefixes of the names of excluded operations
	since   string   // the first release with the fault; empty: all releases
}

// jobs are the methods that begin a job.
var jobs = []string{"filesystem.put", "vm.device.convert", "vm.import_disk_image", "vm.export_disk_image", "vm.stop", "vm.restart", "replication.run_onetime"}

// on reports whether a fault is swept at a call on a release. Each refusal is swept at each call on one of the four releases,
// and all other faults on all of them.
func (m fault) on(release string, nth int) bool {
	turn := map[string]int{"25.04.2": 0, "25.10": 1, "26": 2, "27": 3}[release]
	if release < m.since {
		return false
	}
	return !m.refusal || (nth+turn)%4 == 0
}

// late represents a minute: the caller's deadline only has to pass long before.
const late = 60 * time.Millisecond

// faults lists all faults of a call. It has one refusal for each class of errors of the client, and one error number of those that
// the client treats alike (EPERM and EACCES, ENOSPC and EDQUOT).
func faults() []fault {
	list := []fault{
		{name: "cut before it is done", try: dying(sim.Fault{Then: sim.CutBefore})},
		{name: "cut after it is done", try: dying(sim.Fault{Then: sim.CutAfter})},
		{name: "reply lost", try: replyLost},
		{name: "reply given twice", try: dying(sim.Fault{Then: sim.AnswerTwice})},
		{name: "provider killed", try: killed},
		{name: "middleware restarted before", try: restartedBefore},
		{name: "middleware restarted after", try: lasting(sim.Fault{Then: sim.Restart})},
		{name: "done after the deadline", try: overdue(sim.Delay)},
		{name: "answered after the deadline", try: overdue(sim.AnswerLate)},
		{name: "job failed", try: jobFailed, job: true},
		{name: "libvirt away", try: withoutLibvirt},
	}
	list = append(list, byOthers()...)
	list = append(list, byLateWork()...)
	for _, refusal := range []sim.CallError{
		{Errno: 2, Reason: "[ENOENT] It does not exist"},
		{Errno: 12, Reason: "[ENOMEM] Cannot guarantee memory for guest"},
		{Errno: 13, Reason: "[EACCES] Not authorized"},
		{Errno: 14, Reason: "[EFAULT] Something went wrong"},
		{Errno: 14, Reason: "[EFAULT] VM is already running"},
		{Errno: 14, Reason: "[EFAULT] VM is not running"},
		{Errno: 14, Reason: "[EFAULT] It has dependent clones"},
		{Errno: 16, Reason: "[EBUSY] It is busy"},
		{Errno: 17, Reason: "[EEXIST] It already exists"},
		{Errno: 22, Reason: "[EINVAL] It is not valid"},
		{Errno: 28, Reason: "[ENOSPC] No space left on device"},
		{Errno: 39, Reason: "[ENOTEMPTY] It has children"},
		{Errno: 207, Reason: "[ENOTAUTHENTICATED] Not authenticated"},
		{Code: -32602, Errno: 22, Reason: "[EINVAL] a.b: Field required", Extra: []any{[]any{"a.b", "Field required", 22}}},
		{Code: -32601},
		{Code: -32000, Message: "Maximum number of concurrent calls (20) has exceeded."},
	} {
		name := refusal.Reason
		if name == "" || refusal.Code != 0 {
			name = refusal.Error() + " (JSON-RPC)"
		}
		if refusal.Code == -32601 {
			name = "no such method (JSON-RPC)"
		}
		list = append(list, fault{name: "refused, " + name, try: lasting(sim.Fault{Then: sim.Refuse, Err: &refusal}), refusal: true})
	}
	return list
}

// dying is a fault of the NAS that ends the provider too: the repeated operation runs on a new process without cached state.
func dying(f sim.Fault) func(*testing.T, *point, int) error {
	return func(t *testing.T, p *point, n int) error {
		f := f
		f.Nth = n
		p.nas.Inject(f)
		return p.once(t)
	}
}

// lasting is a fault that the provider survives with its cached state.
func lasting(f sim.Fault) func(*testing.T, *point, int) error {
	return func(t *testing.T, p *point, n int) error {
		f := f
		f.Nth = n
		p.nas.Inject(f)
		return p.with(t, p.lasting(t))
	}
}

// jobFailed makes the n-th call begin a job that fails.
func jobFailed(t *testing.T, p *point, n int) error {
	method, nth := p.methods[n-1], 0
	for _, m := range p.methods[:n] {
		if m == method {
			nth++
		}
	}
	p.nas.Inject(sim.Fault{Method: method, Nth: nth, Then: sim.FailJob})
	return p.with(t, p.lasting(t))
}

// replyLost cuts the connection some time after the missing reply, so that the client stops waiting.
func replyLost(t *testing.T, p *point, n int) error {
	p.nas.Inject(sim.Fault{Nth: n, Then: sim.DropReply})
	p.nas.OnCall(func(i int, _ string) {
		if i == n {
			time.AfterFunc(20*time.Millisecond, p.nas.CutConnections)
		}
	})
	return p.once(t)
}

// killed ends the provider at the n-th call, with all its work.
func killed(t *testing.T, p *point, n int) error {
	client, stop := startProvider(t, p.address, p.op.options...)
	ctx, cancel := p.caller(t)
	defer cancel()
	end := sync.OnceFunc(func() {
		cancel() // The caller gets no response.
		stop()
	})
	defer end() // The number of polls of a job's state depends on the speed of TrueNAS's events, so the call may never come.
	defer p.nas.OnCall(nil)
	p.nas.OnCall(func(i int, _ string) {
		if i == n {
			go end()
		}
	})
	return p.op.run(ctx, client)
}

// restartedBefore restarts the middleware when the call arrives, without a reply.
func restartedBefore(t *testing.T, p *point, n int) error {
	p.nas.OnCall(func(i int, _ string) {
		if i == n {
			p.nas.RestartMiddleware()
		}
	})
	return p.with(t, p.lasting(t))
}

// withoutLibvirt stops libvirt from that call until the end of the first attempt: TrueNAS then reports a running guest as STOPPED
// from 26 on, and as ERROR before that.
func withoutLibvirt(t *testing.T, p *point, n int) error {
	p.nas.OnCall(func(i int, _ string) {
		if i == n {
			p.nas.SetLibvirt(true)
		}
	})
	defer p.nas.SetLibvirt(false)
	return p.with(t, p.lasting(t))
}

// overdue lets the caller's deadline pass when the call arrives. The caller retries immediately, and only then the NAS executes the
// call or replies.
func overdue(then sim.Action) func(*testing.T, *point, int) error {
	return func(t *testing.T, p *point, n int) error {
		p.nas.Inject(sim.Fault{Nth: n, Then: then, Delay: late})
		ctx, cancel := p.caller(t)
		defer cancel()
		p.nas.OnCall(func(i int, _ string) {
			if i == n {
				cancel()
			}
		})
		return p.op.run(ctx, p.lasting(t))
	}
}

// lasting returns the provider that survives the fault.
func (p *point) lasting(t *testing.T) providerv1.ProviderClient {
	if p.client == nil {
		client, stop := startProvider(t, p.address, p.op.options...)
		p.client, p.stop = client, sync.OnceFunc(stop)
		t.Cleanup(p.stop)
	}
	return p.client
}
