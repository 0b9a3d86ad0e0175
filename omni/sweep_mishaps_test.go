package omni

import (
	"testing"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/truenas/sim"
)

// nasMishaps are what a call of the provider's to the NAS can meet. Refusals stand for the codes that they become: what
// passes, what is final, and what is nobody's. A reply that is lost without a word ends as a link that is cut after the call,
// minutes later.
func nasMishaps() []mishap {
	fault := func(f sim.Fault) func(*testing.T, *life, int) {
		return func(_ *testing.T, l *life, n int) {
			f := f
			f.Nth = n
			l.nas.Inject(f)
		}
	}
	at := func(do func(*testing.T, *life)) func(*testing.T, *life, int) {
		return func(t *testing.T, l *life, n int) {
			l.nas.OnCall(func(i int, _ string) {
				if i == n {
					do(t, l)
				}
			})
		}
	}
	list := []mishap{
		{"cut before it is done", fault(sim.Fault{Then: sim.CutBefore})},
		{"cut after it is done", fault(sim.Fault{Then: sim.CutAfter})},
		{"middleware restarted before", at(func(_ *testing.T, l *life) { l.nas.RestartMiddleware() })},
		{"middleware restarted after", fault(sim.Fault{Then: sim.Restart})},
		{"job failed", fault(sim.Fault{Then: sim.FailJob})},
		{"provider killed", at(func(t *testing.T, l *life) { l.restarts.Go(func() { l.kill(); l.serve(t) }) })},
		{"adapter killed", at(func(_ *testing.T, l *life) { l.restarts.Go(l.again) })},
	}
	for _, refusal := range []sim.CallError{
		{Errno: 2, Reason: "[ENOENT] It does not exist"},
		{Errno: 14, Reason: "[EFAULT] Something went wrong"},
		{Errno: 16, Reason: "[EBUSY] It is busy"},
		{Errno: 17, Reason: "[EEXIST] It already exists"},
		{Errno: 22, Reason: "[EINVAL] It is not valid"},
		{Errno: 28, Reason: "[ENOSPC] No space left on device"},
	} {
		list = append(list, mishap{"refused, " + refusal.Reason, fault(sim.Fault{Then: sim.Refuse, Err: &refusal})})
	}
	return list
}

// rpcMishaps are what a call of the adapter's to the provider can meet.
func rpcMishaps() []mishap {
	list := []mishap{{"reply lost", func(_ *testing.T, l *life, n int) { l.link.begin(n) }}}
	for _, code := range []codes.Code{
		codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.Aborted, codes.InvalidArgument,
		codes.FailedPrecondition, codes.ResourceExhausted, codes.AlreadyExists, codes.NotFound, codes.PermissionDenied,
	} {
		list = append(list, mishap{"refused, " + code.String(), func(_ *testing.T, l *life, n int) { l.link.refuse(n, code) }})
	}
	return list
}
