package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

const (
	patience    = 8 * time.Second  // of one call; the manager's minutes would be too slow for a test
	persistence = 90 * time.Second // until a repeated operation must have succeeded
	again       = 30 * time.Millisecond
)

// temporaryCodes lists the temporary codes that any operation may return during faults of the NAS.
var temporaryCodes = map[codes.Code]bool{
	codes.Unavailable: true, codes.DeadlineExceeded: true, codes.Aborted: true, codes.ResourceExhausted: true,
	codes.FailedPrecondition: true, // a refusal with EFAULT and no details
	codes.Canceled:           true, // when a process ends
}

// judge counts the code of a response. It reports codes that blame the request, because the request is valid and only the NAS has
// faults.
func (w *world) judge(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	code := status.Code(err)
	w.counted(w.codes, code.String())
	if code != codes.OK && !temporaryCodes[code] {
		w.violated("%s: %v", what, err)
	}
}

// rpc is a call of a control plane.
type rpc func(ctx context.Context, client providerv1.ProviderClient) error

// do repeats a call, like the manager, until it has the expected response: success, or a refusal.
func (k *worker) do(what string, want codes.Code, call rpc) bool {
	k.note(what)
	began := time.Now()
	deadline := began.Add(persistence)
	var err error
	for try := 0; time.Now().Before(deadline) && !k.w.stopped(); try++ {
		switch err = k.once(what, want, try, call); {
		case status.Code(err) == want:
			k.w.counted(k.w.counts, what[:len(what)-len(k.subject(what))])
			k.w.took(what, time.Since(began))
			return true
		case err == nil:
			k.violated("%s succeeded, and should be refused with %v", what, want)
			return false
		}
		time.Sleep(again) // The manager waits five seconds.
	}
	if !k.w.stopped() {
		k.violated("%s does not come to %v: %v", what, want, err)
	}
	return false
}

// once calls one process, or both replicas at the same time if the worker chose so. It returns the worse result.
func (k *worker) once(what string, want codes.Code, try int, call rpc) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	targets := k.processes[try%len(k.processes):][:1]
	if k.both {
		targets = k.processes
	} else if k.at >= 0 {
		targets = k.processes[(k.at+try)%len(k.processes):][:1]
	}
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for i, p := range targets {
		all.Go(func() { errs[i] = call(ctx, p.client) })
	}
	all.Wait()
	worst := errs[0]
	for i, err := range errs {
		code := status.Code(err)
		k.w.counted(k.w.codes, code.String())
		if code != want && code != codes.OK {
			worst = err
			if !temporaryCodes[code] {
				k.violated("%s at %s: %v", what, targets[i].instance, err)
			}
		}
		if err != nil {
			k.note(fmt.Sprintf("  %s: %v", targets[i].instance, err))
		}
	}
	if status.Code(worst) == want {
		return worst
	}
	for _, err := range errs {
		if code := status.Code(err); code != want {
			return err
		}
	}
	return worst
}
