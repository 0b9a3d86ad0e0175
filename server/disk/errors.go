package disk

import (
	"context"
	"errors"
	"fmt"
)

// The kinds of errors of an image, for errors.Is. Messages name the image without its secrets, the wrong field and the
// allowed values.
var (
	// ErrInvalid: the reference itself makes no sense, such as a checksum of the wrong length.
	ErrInvalid = errors.New("invalid image reference")
	// ErrRefused: the policy forbids the source, such as a link-local address or a path outside the roots.
	ErrRefused = errors.New("source not allowed")
	// ErrHostile: the content refers to other files, or has a false format.
	ErrHostile = errors.New("hostile image")
	// ErrFormat: the image is not in the announced format.
	ErrFormat = errors.New("not in the announced format")
	// ErrTooLarge: the image is, or expands to, more than a limit allows.
	ErrTooLarge = errors.New("image too large")
	// ErrUnsupported: an unsupported format, compression or feature.
	ErrUnsupported = errors.New("unsupported image")
	// ErrLength: the number of bytes differs from the announced length.
	ErrLength = errors.New("wrong length")
	// ErrChecksum: the downloaded bytes do not match the checksum.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrCorrupt: a compressed stream or an image header is damaged.
	ErrCorrupt = errors.New("image damaged")
	// ErrChanged: the source was replaced while it was read; another attempt may succeed.
	ErrChanged = errors.New("source changed while it was read")
	// ErrNotFound: the object does not exist.
	ErrNotFound = errors.New("image not found")
	// ErrDenied: the source refused the credentials, or requires some.
	ErrDenied = errors.New("access to image denied")
	// ErrNoSpace: the destination is full.
	ErrNoSpace = errors.New("destination full")
	// ErrUnordered: the order of the data in an image rules out streaming.
	ErrUnordered = errors.New("image out of order")
	// ErrUnavailable: the source was unreachable or failed temporarily, and all attempts of the retry policy failed.
	ErrUnavailable = errors.New("image source unavailable")
)

// Temporary reports whether another attempt to open the same image may succeed after err.
func Temporary(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrChanged)
}

// refusal returns an error of a kind for errors.Is, with a message for the user.
func refusal(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}

// interrupted returns the cause of the end of ctx, or err while ctx has not ended. A canceled transfer causes various network
// errors, and none of them reports the cancellation.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
