package soak

import "time"

// clockSpeed is the speed of the NAS's clock: operations that take a NAS seconds must not slow down the test.
const clockSpeed = 20

// fast is the simulator's clock.
type fast struct{ start time.Time }

func (f fast) Now() time.Time { return f.start.Add(time.Since(f.start) * clockSpeed) }

func (f fast) AfterFunc(d time.Duration, fn func()) func() bool {
	return time.AfterFunc(d/clockSpeed, fn).Stop
}
