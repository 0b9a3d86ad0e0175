package omni

import (
	"testing"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/truenas/sim"
)

// nasFaults lists the faults of a provider's call to the NAS. Each refusal represents a gRPC code: temporary, final or
// unclassified. A lost reply ends minutes later, like a connection that is cut after the call.
func nasFaults() []fault {
	injected := func(f sim.Fault) func(*testing.T, *life, int) {
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
	list := []fault{
		{"cut before it is done", injected(sim.Fault{Then: sim.CutBefore})},
		{"cut after it is done", injected(sim.Fault{Then: sim.CutAfter})},
		{"middleware restarted before", at(func(_ *testing.T, l *life) { l.nas.RestartMiddleware() })},
		{"middleware restarted after", injected(sim.Fault{Then: sim.Restart})},
		{"job failed", injected(sim.Fault{Then: sim.FailJob})},
		{"provider killed", at(func(t *testing.T, l *life) { l.restarts.Go(func() { l.kill(); l.serve(t) }) })},
		{"adapter killed", at(func(_ *testing.T, l *life) { l.restarts.Go(l.restartAdapter) })},
	}
	for _, refusal := range []sim.CallError{
		{Errno: 2, Reason: "[ENOENT] It does not exist"},
		{Errno: 14, Reason: "[EFAULT] Something went wrong"},
		{Errno: 16, Reason: "[EBUSY] It is busy"},
		{Errno: 17, Reason: "[EEXIST] It already exists"},
		{Errno: 22, Reason: "[EINVAL] It is not valid"},
		{Errno: 28, Reason: "[ENOSPC] No space left on device"},
	} {
		list = append(list, fault{"refused, " + refusal.Reason, injected(sim.Fault{Then: sim.Refuse, Err: &refusal})})
	}
	return list
}

// rpcFaults lists the faults of an adapter's call to the provider.
func rpcFaults() []fault {
	list := []fault{{"reply lost", func(_ *testing.T, l *life, n int) { l.link.begin(n) }}}
	for _, code := range []codes.Code{
		codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.Aborted, codes.InvalidArgument,
		codes.FailedPrecondition, codes.ResourceExhausted, codes.AlreadyExists, codes.NotFound, codes.PermissionDenied,
	} {
		list = append(list, fault{"refused, " + code.String(), func(_ *testing.T, l *life, n int) { l.link.refuse(n, code) }})
	}
	return list
}
