package landing

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// TestWhichFailuresAreRetried: a preparation is repeated after a temporary failure of the NAS or of the source. It is held back only
// after a failure that the image itself causes.
func TestWhichFailuresAreRetried(t *testing.T) {
	for _, tt := range []struct {
		name      string
		err       error
		retryable bool
		byImage   bool
	}{
		{"the NAS is away", truenas.ErrUnavailable, true, false},
		{"the upload stalled", truenas.ErrStalled, true, false},
		{"the time is over", context.DeadlineExceeded, true, false},
		{"the source is away", disk.ErrUnavailable, true, false},
		{"the source was replaced", disk.ErrChanged, true, false},
		{"another checksum", disk.ErrChecksum, false, true},
		{"a damaged image", disk.ErrCorrupt, false, true},
		{"another error of the NAS", &truenas.Error{Method: "pool.dataset.create", Errno: 22}, false, false},
		{"a refusal of this provider", refusal.FailedPrecondition("no pool"), false, true},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("image: %w", tt.err), errors.Join(tt.err, errors.New("another"))} {
			if got := isImageRetryable(err); got != tt.retryable {
				t.Errorf("%s: %v: retryable %t", tt.name, err, got)
			}
			if got := causedByImage(err); got != tt.byImage {
				t.Errorf("%s: %v: caused by the image %t", tt.name, err, got)
			}
		}
	}
}
