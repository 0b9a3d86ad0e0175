package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// TestCodesOfRefusals: ten Unavailable, DeadlineExceeded, Internal or Unknown in a row cut off every VM of the provider, so a
// refusal of the NAS has another code. A VM that can never be made leaves no object.
func TestCodesOfRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  *sim.CallError
		code codes.Code
	}{
		{"no space", &sim.CallError{Errno: 28, Reason: "[ENOSPC] out of space"}, codes.ResourceExhausted},
		{"quota", &sim.CallError{Errno: 122, Reason: "[EDQUOT] quota exceeded"}, codes.ResourceExhausted},
		{"no memory", &sim.CallError{Errno: 12, Reason: "[ENOMEM] Cannot guarantee memory for guest x"}, codes.ResourceExhausted},
		{"a role that is missing", &sim.CallError{Errno: 13, Reason: "[EACCES] Not authorized"}, codes.PermissionDenied},
		{"something that is gone", &sim.CallError{Errno: 2, Reason: "[ENOENT] does not exist"}, codes.NotFound},
		{"it will not, and says no more", &sim.CallError{Errno: 14, Reason: "[EFAULT] Traceback"}, codes.FailedPrecondition},
	} {
		for _, method := range []string{"vm.create", "pool.dataset.create", "vm.device.create", "filesystem.put"} {
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				t.Parallel()
				client, nas := onRelease(t, "25.10")
				before := nas.State()
				nas.Inject(sim.Fault{Method: method, Then: sim.Refuse, Err: tt.err})
				_, err := client.Create(t.Context(), wanted("web-1"))
				if status.Code(err) != tt.code {
					t.Errorf("%v; want %v", err, tt.code)
				}
				if after := nas.State(); !sameButTree(before, after) {
					t.Errorf("leftovers:\n%s", changes(t, before, after))
				}
				if _, err := client.Create(t.Context(), wanted("web-1")); err != nil {
					t.Errorf("the next Create: %v", err)
				}
			})
		}
	}
}

// TestCodeOfAWrongValue: TrueNAS's complaint about a parameter is reported as a mistake in the request.
func TestCodeOfAWrongValue(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"vm.create", "pool.dataset.create", "vm.device.create"} {
		client, nas := onRelease(t, "25.10")
		nas.Inject(sim.Fault{Method: method, Then: sim.Refuse, Err: &sim.CallError{
			Code: -32602, Errno: 22, Reason: "[EINVAL] vm_create.memory: too much", Extra: [][]any{{"vm_create.memory", "too much", 22}},
		}})
		if _, err := client.Create(t.Context(), wanted("web-1")); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "too much") {
			t.Errorf("%s: %v; want InvalidArgument", method, err)
		}
	}
}

// TestBusyIsAborted: a busy object is a temporary failure, and the next Create completes the VM.
func TestBusyIsAborted(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"vm.create", "pool.dataset.create", "vm.device.create"} {
		t.Run(method, func(t *testing.T) {
			client, nas := onRelease(t, "25.10")
			nas.Inject(sim.Fault{Method: method, Then: sim.Refuse, Err: &sim.CallError{Errno: 16, Reason: "[EBUSY] resource busy"}})
			if _, err := client.Create(t.Context(), wanted("web-1")); status.Code(err) != codes.Aborted {
				t.Errorf("%v; want Aborted", err)
			}
			if _, err := client.Create(t.Context(), wanted("web-1")); err != nil {
				t.Errorf("the next Create: %v", err)
			}
		})
	}
}

// TestDeleteOfAGuestThatIgnoresShutdown is synchronous even if the guest ignores the shutdown, because the manager ignores a task of Delete.
func TestDeleteOfAGuestThatIgnoresShutdown(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			nas.SetGuest("", sim.Guest{IgnoresPowerButton: true})
			before := nas.State()
			id := makeAndStart(t, client, wanted("web-1"))
			resp, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: id})
			if err != nil || resp.GetTask().GetId() != "" {
				t.Fatalf("Delete: %v, %v", resp, err)
			}
			if after := nas.State(); !sameButTree(before, after) {
				t.Errorf("leftovers:\n%s", changes(t, before, after))
			}
		})
	}
}
