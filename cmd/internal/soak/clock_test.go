package soak

import "time"

// hurry is how many times faster the NAS's clock runs: what takes a NAS seconds, as the end of a VM does, must not take the
// test as long.
const hurry = 20

// fast is the simulator's clock.
type fast struct{ start time.Time }

func (f fast) Now() time.Time { return f.start.Add(time.Since(f.start) * hurry) }

func (f fast) AfterFunc(d time.Duration, fn func()) func() bool {
	return time.AfterFunc(d/hurry, fn).Stop
}
