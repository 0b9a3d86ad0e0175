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
	Running bool          // it is on its way
	Since   time.Time     // when that began, or when it failed
	Done    disk.Progress // of one on its way
	Err     error         // of one that failed
}
