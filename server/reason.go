package server

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// reasonDomain is the domain of the reasons that a manager of line 0.4 acts on. Older managers read only the code.
const reasonDomain = "provider.virtrigaud.io"

// reason is what the manager does about a failure, beyond its code.
type reason string

const (
	noReason          reason = ""
	vmOperationFailed reason = "VM_OPERATION_FAILED"        // the failure of one VM: not counted by the circuit breaker
	diskCheckFailed   reason = "VM_DISK_CHECK_FAILED"       // asked again, not counted
	diskInUse         reason = "VM_DISK_IN_USE"             // a Delete or SnapshotDelete is blocked, asked again every minute
	sourceRunning     reason = "VM_SOURCE_RUNNING"          // a clone waits until its source is off
	artifactUnderWay  reason = "IMAGE_ARTIFACT_IN_PROGRESS" // another call prepares the image, asked again after 30 s
	sourceUnavailable reason = "IMAGE_SOURCE_UNAVAILABLE"   // asked again after 5 s, not counted
)

// The failures that have a reason.
var (
	errVMFailed       = errors.New("operation failed for this VM")
	errDiskUnchecked  = errors.New("cannot check whether a disk is in use")
	errDiskInUse      = errors.New("disk in use")
	errSourceRunning  = errors.New("source VM is running")
	errUnderWay       = errors.New("image is being prepared")
	errSourceUnusable = errors.New("image source is unavailable")
)

// fault is a failure of one of these kinds in its own words.
type fault struct {
	kind  error
	cause error
}

func (f fault) Error() string   { return f.cause.Error() }
func (f fault) Unwrap() []error { return []error{f.kind, f.cause} }

// faultf makes a fault; its kind decides the code and the reason.
func faultf(kind error, format string, args ...any) error {
	return fault{kind, fmt.Errorf(format, args...)}
}

// inUse refuses to remove what something else needs.
func inUse(format string, args ...any) error { return faultf(errDiskInUse, format, args...) }

// unchecked marks the failure of a check for other users of a disk. A result of the check stays as it is.
func unchecked(err error) error {
	if err == nil {
		return nil
	}
	if code, _ := verdict(err); code == codes.Unavailable {
		return fault{errDiskUnchecked, err}
	}
	return err
}

// withReason adds the reason to what the caller reads.
func withReason(code codes.Code, message string, why reason) error {
	st := status.New(code, message)
	if why == noReason {
		return st.Err()
	}
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(why), Domain: reasonDomain})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// aboutVM says whether a request is about one VM.
func aboutVM(req any) bool {
	switch req.(type) {
	case *providerv1.CreateRequest, *providerv1.DeleteRequest, *providerv1.PowerRequest, *providerv1.ReconfigureRequest,
		*providerv1.DescribeRequest, *providerv1.SnapshotCreateRequest, *providerv1.SnapshotDeleteRequest,
		*providerv1.SnapshotRevertRequest, *providerv1.CloneRequest, *providerv1.ExportDiskRequest, *providerv1.GetDiskInfoRequest:
		return true
	}
	return false
}
