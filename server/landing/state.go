package landing

import (
	"time"

	"virtrigaud-provider-truenas/server/disk"
)

// ImageState is an image: on the NAS, on its way, or one that could not be made.
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
