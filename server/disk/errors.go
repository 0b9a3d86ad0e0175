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
	// ErrRefused: the policy forbids reading from there, such as a link-local address or a path outside the roots.
	ErrRefused = errors.New("source not allowed")
	// ErrHostile: the content tries to reach beyond itself or passes for something it is not.
	ErrHostile = errors.New("hostile image")
	// ErrFormat: the image is in another format than was announced.
	ErrFormat = errors.New("not in the announced format")
	// ErrTooLarge: the image is, or expands to, more than a limit allows.
	ErrTooLarge = errors.New("image too large")
	// ErrUnsupported: a format, compression or feature that is not handled.
	ErrUnsupported = errors.New("unsupported image")
	// ErrLength: more or fewer bytes arrived than were announced.
	ErrLength = errors.New("wrong length")
	// ErrChecksum: the downloaded bytes are not those the checksum was made for.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrCorrupt: a compressed stream or an image header is damaged.
	ErrCorrupt = errors.New("image damaged")
	// ErrChanged: the source was replaced while it was read; another attempt may succeed.
	ErrChanged = errors.New("source changed while it was read")
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("image not found")
	// ErrDenied: the source refused the credentials, or wants some.
	ErrDenied = errors.New("access to image denied")
	// ErrNoSpace: the destination is full.
	ErrNoSpace = errors.New("destination full")
	// ErrUnordered: an image keeps its disk in another order than it can be passed on in.
	ErrUnordered = errors.New("image out of order")
	// ErrUnavailable: the source was unreachable or failed temporarily, and all attempts of the retry policy failed.
	ErrUnavailable = errors.New("image source unavailable")
)

// Temporary reports whether opening the same image again later may succeed where err was returned.
func Temporary(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrChanged)
}

// refusal makes an error of a kind for errors.Is, with a message for the user.
func refusal(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
}

// interrupted returns the reason for which ctx ended, or err while it has not. A cancelled transfer surfaces as all
// sorts of network errors, and none of them says that the caller gave up.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
