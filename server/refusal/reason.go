package refusal

import (
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// domain is the domain of the reasons that a manager of line 0.4 handles. Older managers read only the code.
const domain = "provider.virtrigaud.io"

// Reason is the reason in the ErrorInfo of a status. With the code it determines the manager's reaction.
type Reason string

// The reasons that the manager knows.
const (
	NoReason                     Reason = ""
	ReasonVMOperationFailed      Reason = "VM_OPERATION_FAILED"        // the failure of one VM: not counted by the circuit breaker
	ReasonDiskCheckFailed        Reason = "VM_DISK_CHECK_FAILED"       // retried, not counted
	ReasonDiskInUse              Reason = "VM_DISK_IN_USE"             // a Delete or SnapshotDelete is blocked, retried every minute
	ReasonSourceRunning          Reason = "VM_SOURCE_RUNNING"          // a clone waits until its source is off
	ReasonImageInProgress        Reason = "IMAGE_ARTIFACT_IN_PROGRESS" // another call prepares the image, retried after 30 s
	ReasonImageSourceUnavailable Reason = "IMAGE_SOURCE_UNAVAILABLE"   // retried after 5 s, not counted
)

// The kinds of a [Fault] that have a reason.
var (
	ErrVMFailed               = errors.New("operation failed for this VM")
	ErrDiskUnchecked          = errors.New("cannot check whether a disk is in use")
	ErrDiskInUse              = errors.New("disk in use")
	ErrSourceRunning          = errors.New("source VM is running")
	ErrImageInProgress        = errors.New("image is being prepared")
	ErrImageSourceUnavailable = errors.New("image source is unavailable")
)

// WithReason returns a status error with this code, message and reason.
func WithReason(code codes.Code, message string, why Reason) error {
	st := status.New(code, message)
	if why == NoReason {
		return st.Err()
	}
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(why), Domain: domain})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}
