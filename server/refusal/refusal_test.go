package refusal

import (
	"errors"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestPublic: tenants get another text of the same error, and an error without one as it is.
func TestPublic(t *testing.T) {
	secret := FailedPrecondition("VM of a rival has it")
	differs, public := Public(Withheld(secret, "another VM has it"))
	if !differs || public.Error() != "another VM has it" || !errors.Is(public, secret) {
		t.Errorf("got %t, %v", differs, public)
	}
	if differs, public := Public(secret); differs || !errors.Is(public, secret) || public.Error() != secret.Error() {
		t.Errorf("got %t, %v", differs, public)
	}
	if hidden := Hide(secret); errors.Is(hidden, secret) || hidden.Error() != secret.Error() {
		t.Errorf("got %v", hidden)
	}
}

// TestWithReason: a status has the reason for the manager only if there is one.
func TestWithReason(t *testing.T) {
	for _, why := range []Reason{NoReason, ReasonDiskInUse} {
		st, _ := status.FromError(WithReason(codes.Aborted, "busy", why))
		if st.Code() != codes.Aborted || st.Message() != "busy" || len(st.Details()) > 0 != (why != NoReason) {
			t.Errorf("%q: got %v", why, st)
		}
		for _, detail := range st.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); !ok || info.GetReason() != string(why) || info.GetDomain() != domain {
				t.Errorf("%q: got %v", why, detail)
			}
		}
	}
}

// TestFault has the text of its cause, and is of its kind.
func TestFault(t *testing.T) {
	cause := errors.New("cause")
	fault := Fault{ErrDiskInUse, cause}
	if fault.Error() != "cause" || !errors.Is(fault, ErrDiskInUse) || !errors.Is(fault, cause) || errors.Is(fault, ErrVMFailed) {
		t.Errorf("got %v", fault)
	}
	if err := Faultf(ErrVMFailed, "VM %d", 7); err.Error() != "VM 7" || !errors.Is(err, ErrVMFailed) {
		t.Errorf("got %v", err)
	}
}
