package landing

import (
	"time"

	"virtrigaud-provider-truenas/server/disk"
)

// ImageState is an image that is ready, in preparation or failed.
type ImageState struct {
	Name    string
	Dataset string
	Source  string        // empty if it may contain a secret
	Bytes   int64         // the size of the disk; 0 while unknown
	Running bool          // the image is in preparation
	Since   time.Time     // the time of its begin, or of its failure
	Done    disk.Progress // the progress of a preparation
	Err     error         // the failure of the last attempt
}
