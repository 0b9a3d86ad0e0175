package omni

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refused is the final refusal of a request, with the reason for its author.
type refused struct{ text string }

func (r refused) Error() string { return r.text }

func refusal(format string, args ...any) error { return refused{fmt.Sprintf(format, args...)} }

// operatorFault is a failure that the operator of the backend has to fix. Omni shows it to the user.
type operatorFault struct{ text string }

func (n operatorFault) Error() string { return n.text }

// waiting is not an error: work is in progress, and the step runs again after a while.
type waiting struct {
	after    time.Duration // 0: depends on how long the request has waited; see [pacing]
	progress string        // for users; may be empty
}

func (w waiting) Error() string { return "in progress" }

// isWaiting reports whether an error only means that the step has to run again later.
func isWaiting(err error) bool {
	var w waiting
	return errors.As(err, &w)
}

// backendError is an error of an RPC to a backend.
type backendError struct {
	provider string
	err      error
}

func (e backendError) Error() string { return e.err.Error() }
func (e backendError) Unwrap() error { return e.err }

// from adds the backend's name to an error of an RPC to it.
func from(b *backend, err error) error {
	if err == nil {
		return nil
	}
	return backendError{b.name, err}
}

func codeOf(err error) codes.Code {
	var b backendError
	if !errors.As(err, &b) {
		return codes.Unknown
	}
	return status.Code(b.err)
}

// verdicts maps a code to a text, and to whether a retry can succeed without a change. %[1]s is the name of the backend, %[2]s
// its message.
var verdicts = map[codes.Code]struct {
	format string
	final  bool
}{
	codes.InvalidArgument:    {"%[1]s cannot create this machine: %[2]s. Change the machine class", true},
	codes.FailedPrecondition: {"%[1]s cannot create this machine at the moment: %[2]s. Retried every minute", true},
	codes.AlreadyExists:      {"%[1]s has a machine of this name that is not Omni's: %[2]s. Remove or rename it there", true},
	codes.Unimplemented:      {"%[1]s lacks a feature that machines of Omni need: %[2]s", true},
	codes.OutOfRange:         {"%[1]s cannot create this machine: %[2]s. Change the machine class", true},
	codes.NotFound:           {"%[1]s lacks something that the machine needs: %[2]s. Will be retried", false},
	codes.ResourceExhausted:  {"%[1]s lacks resources for this machine: %[2]s. Free space, memory or the device there, or use another storage_pool; will be retried", false},
	codes.PermissionDenied:   {"%[1]s is not allowed to do this: %[2]s. Check the provider's API key and its privileges; will be retried", false},
	codes.Unauthenticated:    {"%[1]s is not allowed to do this: %[2]s. Check the provider's credentials; will be retried", false},
	codes.Unavailable:        {"%[1]s cannot be reached: %[2]s. Will be retried", false},
	codes.DeadlineExceeded:   {"%[1]s did not respond in time: %[2]s. Will be retried", false},
	codes.Aborted:            {"%[1]s is busy: %[2]s. Will be retried", false},
}

// userText returns the error as text for the user of Omni, and whether it is final.
func userText(err error) (text string, final bool) {
	var r refused
	if errors.As(err, &r) {
		return r.text, true
	}
	var n operatorFault
	if errors.As(err, &n) {
		return n.text, false
	}
	var b backendError
	if !errors.As(err, &b) {
		return err.Error() + ". Will be retried", false
	}
	said := status.Convert(b.err)
	v, ok := verdicts[said.Code()]
	if !ok {
		v.format = "%[1]s failed: %[2]s. Will be retried"
	}
	return fmt.Sprintf(v.format, b.provider, classTerms(said.Message())), v.final
}
