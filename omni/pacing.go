package omni

import (
	"sync"
	"time"
)

// Polling starts fast and slows down with the age of the task, up to [Pace.Poll]. The delay stays below a fiftieth of the time
// that the task takes.
const (
	leastPause    = 20 * time.Millisecond
	pauseFraction = 50
)

// pause returns the interval to the next poll of a task that has run for the given time.
func (p Pace) pause(waited time.Duration) time.Duration {
	return min(max(waited/pauseFraction, leastPause), p.Poll)
}

// pacing spaces the polls of the tasks that requests wait for.
type pacing struct {
	mu    sync.Mutex
	waits map[string]*wait // by request
}

// wait is one request that waits in one step.
type wait struct {
	step  string
	since time.Time
	shown string    // the progress in Omni
	at    time.Time // when it changed
}

// next returns the interval to the next run of the step, and the progress to show until then. It changes the progress at most
// once per [Pace.Poll], because each change is a write in Omni.
func (p *pacing) next(request, step string, w waiting, pace Pace) (after time.Duration, progress string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	known := p.waits[request]
	if known == nil || known.step != step {
		known = &wait{step: step, since: now, shown: w.progress, at: now}
		if p.waits == nil {
			p.waits = map[string]*wait{}
		}
		p.waits[request] = known
	}
	if w.progress != known.shown && now.Sub(known.at) >= pace.Poll {
		known.shown, known.at = w.progress, now
	}
	if w.after > 0 {
		return w.after, known.shown
	}
	return pace.pause(now.Sub(known.since)), known.shown
}

// end forgets the wait of a request that continues, fails or is removed.
func (p *pacing) end(request string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waits, request)
}
