package landing

import (
	"time"

	"virtrigaud-provider-truenas/server/disk"
)

// ImageState is an image that is ready, in preparation or failed.
type ImageState struct {
	Name    string
	Dataset string
	Source  string        // empty where it may hold a secret
	Bytes   int64         // of the disk; 0 while it is not known
	Running bool          // it is in preparation
	Since   time.Time     // when that began, or when it failed
	Done    disk.Progress // of an image in preparation
	Err     error         // of one that failed
}
