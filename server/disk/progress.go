package disk

import (
	"fmt"
	"hash"
	"io"
	"time"
)

// Progress is the progress of a transfer, in downloaded bytes.
type Progress struct {
	Done    int64
	Total   int64 // −1 if unknown
	Elapsed time.Duration

	Waiting bool // the transfer waits for memory; it has read nothing yet
	Before  int  // the number of transfers ahead of it
}

// Rate returns the average rate so far, in bytes per second.
func (p Progress) Rate() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Done) / p.Elapsed.Seconds()
}

// Left returns the remaining time at that rate, negative if unknown.
func (p Progress) Left() time.Duration {
	if p.Total < 0 || p.Rate() == 0 {
		return -1
	}
	return time.Duration(float64(p.Total-p.Done) / p.Rate() * float64(time.Second)).Round(time.Second)
}

// Percent returns 0 to 100, or −1 if unknown.
func (p Progress) Percent() int {
	if p.Total <= 0 {
		return -1
	}
	return int(p.Done * 100 / p.Total)
}

// String returns the progress for log lines and states: "42 % of 1229.0 MiB, 94.0 MiB/s, 8s left", "waiting for memory, 3 before
// it".
func (p Progress) String() string {
	switch {
	case p.Waiting && p.Before == 0:
		return "waiting for memory, next in line"
	case p.Waiting:
		return fmt.Sprintf("waiting for memory, %d before it", p.Before)
	}
	if p.Percent() < 0 {
		return fmt.Sprintf("%.1f MiB, %.1f MiB/s", float64(p.Done)/mib, p.Rate()/mib)
	}
	return fmt.Sprintf("%d %% of %.1f MiB, %.1f MiB/s, %s left", p.Percent(), float64(p.Total)/mib, p.Rate()/mib, p.Left())
}

// silence is the longest interval between reports of a throttled progress.
const silence = 10 * time.Second

// EveryPercent calls report after each step percent, after the last byte, and every ten seconds in between. It is not safe for
// several transfers.
func EveryPercent(step int, report func(Progress)) func(Progress) {
	next, last := step, time.Duration(0)
	return func(p Progress) {
		if p.Waiting {
			report(p)
			return
		}
		percent := p.Percent()
		if percent < next && p.Elapsed-last < silence {
			return
		}
		if percent >= next {
			next = percent - percent%step + step
		}
		last = p.Elapsed
		report(p)
	}
}

// meter counts the download, computes its checksum and reports its progress.
type meter struct {
	r        io.Reader
	n        int64
	total    int64
	sum      hash.Hash // nil: no checksum is requested
	report   func(Progress)
	passed   func(bytes int)
	started  time.Time
	reported int64 // bytes in the last report
}

// meterStep is the number of bytes between two reports.
const meterStep = 1 * mib

// Read implements [io.Reader].
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.passed(n)
	if m.sum != nil {
		m.sum.Write(p[:n])
	}
	if m.report != nil && (m.n-m.reported >= meterStep || err == io.EOF && m.reported < m.n) {
		m.reported = m.n
		m.report(Progress{Done: m.n, Total: m.total, Elapsed: time.Since(m.started)})
	}
	return n, err
}
