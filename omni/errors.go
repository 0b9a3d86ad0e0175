package omni

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refused is a request that cannot work as it is, told to its author.
type refused struct{ text string }

func (r refused) Error() string { return r.text }

func refusal(format string, args ...any) error { return refused{fmt.Sprintf(format, args...)} }

// notNow is a failure that whoever runs the provider has to mend, told to the user of Omni.
type notNow struct{ text string }

func (n notNow) Error() string { return n.text }

// waiting is not an error: work is in progress, and the step runs again after a while.
type waiting struct {
	after    time.Duration
	progress string // for people; may be empty
}

func (w waiting) Error() string { return "under way" }

// isWaiting says whether an error is none, but a wish to be asked again.
func isWaiting(err error) bool {
	var w waiting
	return errors.As(err, &w)
}

// behindError is what a provider behind answered.
type behindError struct {
	provider string
	err      error
}

func (e behindError) Error() string { return e.err.Error() }
func (e behindError) Unwrap() error { return e.err }

// from says which provider an error came from.
func from(b *behind, err error) error {
	if err == nil {
		return nil
	}
	return behindError{b.name, err}
}

func codeOf(err error) codes.Code {
	var b behindError
	if !errors.As(err, &b) {
		return codes.Unknown
	}
	return status.Code(b.err)
}

// verdicts is what the user is told for each code, and whether repeating can help while nobody changes anything: %[1]s is
// the provider's name, %[2]s what it said.
var verdicts = map[codes.Code]struct {
	format string
	final  bool
}{
	codes.InvalidArgument:    {"%[1]s cannot make this machine: %[2]s. Change the machine class", true},
	codes.FailedPrecondition: {"%[1]s cannot make this machine as things are: %[2]s. This is tried again every minute", true},
	codes.AlreadyExists:      {"%[1]s has a machine of this name that is not Omni's: %[2]s. Remove or rename it there", true},
	codes.Unimplemented:      {"%[1]s does not offer what a machine for Omni needs: %[2]s", true},
	codes.OutOfRange:         {"%[1]s cannot make this machine: %[2]s. Change the machine class", true},
	codes.NotFound:           {"%[1]s does not find what the machine needs: %[2]s. This is tried again", false},
	codes.ResourceExhausted:  {"%[1]s has no room for this machine: %[2]s. Free space or memory there, or use another storage_pool; this is tried again", false},
	codes.PermissionDenied:   {"%[1]s is not allowed to do this: %[2]s. Check the provider's API key and its privileges; this is tried again", false},
	codes.Unauthenticated:    {"%[1]s is not allowed to do this: %[2]s. Check the provider's credentials; this is tried again", false},
	codes.Unavailable:        {"%[1]s cannot be reached: %[2]s. This is tried again", false},
	codes.DeadlineExceeded:   {"%[1]s did not answer in time: %[2]s. This is tried again", false},
	codes.Aborted:            {"%[1]s is busy: %[2]s. This is tried again", false},
}

// told is an error as the user of Omni reads it, and whether it is final.
func told(err error) (text string, final bool) {
	var r refused
	if errors.As(err, &r) {
		return r.text, true
	}
	var n notNow
	if errors.As(err, &n) {
		return n.text, false
	}
	var b behindError
	if !errors.As(err, &b) {
		return err.Error() + ". This is tried again", false
	}
	said := status.Convert(b.err)
	v, ok := verdicts[said.Code()]
	if !ok {
		v.format = "%[1]s failed: %[2]s. This is tried again"
	}
	return fmt.Sprintf(v.format, b.provider, spoken(said.Message())), v.final
}
