package server

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// reasonOf returns the reason in an error for a manager of line 0.4.
func reasonOf(t *testing.T, err error) refusal.Reason {
	t.Helper()
	for _, detail := range status.Convert(err).Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != "provider.virtrigaud.io" {
			t.Errorf("unexpected detail %v", detail)
			continue
		}
		return refusal.Reason(info.GetReason())
	}
	return refusal.NoReason
}

func TestReasons(t *testing.T) {
	t.Parallel()
	_, stateUnknown := powerState(truenas.VM{Name: "web_1", Status: truenas.VMStatus{State: "ERROR"}})
	describe, prepare := &providerv1.DescribeRequest{}, &providerv1.ImagePrepareRequest{}
	for _, tt := range []struct {
		name string
		req  any
		err  error
		code codes.Code
		why  refusal.Reason
	}{
		{"a VM in an unknown state", describe, stateUnknown, codes.Unavailable, "VM_OPERATION_FAILED"},
		{"a refusal of the NAS in unknown words", &providerv1.PowerRequest{}, fmt.Errorf("start: %w", &truenas.Error{}), codes.FailedPrecondition, "VM_OPERATION_FAILED"},
		{"the same of an image", prepare, fmt.Errorf("land: %w", &truenas.Error{}), codes.FailedPrecondition, ""},
		{"a fault of this program with one VM", describe, errors.New("broken"), codes.Internal, "VM_OPERATION_FAILED"},
		{"a fault of this program with an image", prepare, errors.New("broken"), codes.Internal, ""},
		{"the NAS is away", describe, truenas.ErrUnavailable, codes.Unavailable, ""},
		{"the NAS is away while users of a disk are looked up", &providerv1.DeleteRequest{}, unchecked(fmt.Errorf("list: %w", truenas.ErrUnavailable)), codes.Unavailable, "VM_DISK_CHECK_FAILED"},
		{"a check that was refused", &providerv1.DeleteRequest{}, unchecked(truenas.ErrPermission), codes.PermissionDenied, ""},
		{"a disk in use", &providerv1.DeleteRequest{}, fmt.Errorf("delete: %w", refusal.InUse("disk of VM %q", "b")), codes.FailedPrecondition, "VM_DISK_IN_USE"},
		{"a source that runs", &providerv1.CloneRequest{}, refusal.Faultf(refusal.ErrSourceRunning, "runs"), codes.FailedPrecondition, "VM_SOURCE_RUNNING"},
		{"an image under way", prepare, refusal.Faultf(refusal.ErrImageInProgress, "under way"), codes.Unavailable, "IMAGE_ARTIFACT_IN_PROGRESS"},
		{"a source that does not answer", prepare, refusal.Faultf(refusal.ErrImageSourceUnavailable, "away"), codes.Unavailable, "IMAGE_SOURCE_UNAVAILABLE"},
		{"a wrong field", describe, refusal.InvalidArgument("id", "wrong"), codes.InvalidArgument, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := toStatus(tt.req, tt.err)
			if status.Code(err) != tt.code || reasonOf(t, err) != tt.why {
				t.Errorf("got %v with reason %q, want %v with %q", err, reasonOf(t, err), tt.code, tt.why)
			}
			if got := status.Convert(err).Message(); got != tt.err.Error() {
				t.Errorf("the message is %q, want %q", got, tt.err)
			}
		})
	}
}

// A state that TrueNAS does not know is a failure for a manager of line 0.3, and Unknown for a newer one.
func TestUnknownState(t *testing.T) {
	t.Parallel()
	s, vm := &Server{}, truenas.VM{Name: "web_1", Status: truenas.VMStatus{State: "ERROR"}}
	if power, err := s.powerState(vm); err == nil {
		t.Errorf("line 0.3: got %q", power)
	}
	s.newerManager.Store(true)
	if power, err := s.powerState(vm); power != "Unknown" || err != nil {
		t.Errorf("line 0.4: got %q, %v", power, err)
	}
}
