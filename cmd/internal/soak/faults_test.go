package soak

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// faultKind is a kind of fault with its relative frequency.
type faultKind struct {
	name  string
	share int
	do    func(f *faults, r *rand.Rand)
}

// faultKinds lists all faults. Each kind draws a fixed count of random numbers, so that the seed determines the sequence.
var faultKinds = []faultKind{
	{"link cut before a call is done", 6, func(f *faults, r *rand.Rand) { f.atACall(r, sim.CutBefore) }},
	{"link cut after a call is done", 6, func(f *faults, r *rand.Rand) { f.atACall(r, sim.CutAfter) }},
	{"reply given twice", 10, func(f *faults, r *rand.Rand) { f.atACall(r, sim.AnswerTwice) }},
	{"call late", 12, func(f *faults, r *rand.Rand) {
		f.nas.Inject(sim.Fault{Nth: 1 + r.IntN(5), Then: sim.Delay, Delay: time.Duration(50+r.IntN(500)) * time.Millisecond})
	}},
	{"reply lost", 4, func(f *faults, r *rand.Rand) {
		lost, wait := f.nas.Inject(sim.Fault{Nth: 1 + r.IntN(5), Then: sim.DropReply}), time.Duration(300+r.IntN(1200))*time.Millisecond
		f.later(func() {
			<-lost
			<-time.After(wait)
			f.nas.CutConnections()
		})
	}},
	{"call refused", 18, func(f *faults, r *rand.Rand) {
		f.nas.Inject(sim.Fault{Nth: 1 + r.IntN(5), Then: sim.Refuse, Err: refusals[r.IntN(len(refusals))]})
	}},
	{"job failed", 6, func(f *faults, r *rand.Rand) {
		f.nas.Inject(sim.Fault{Method: jobMethods[r.IntN(len(jobMethods))], Then: sim.FailJob})
	}},
	{"middlewared restarted", 3, func(f *faults, _ *rand.Rand) { f.later(f.nas.RestartMiddleware) }},
	{"NAS away", 2, func(f *faults, r *rand.Rand) {
		for_ := time.Duration(100+r.IntN(1500)) * time.Millisecond
		f.later(func() {
			f.nas.SetOffline(true)
			<-time.After(for_)
			f.nas.SetOffline(false)
		})
	}},
	{"provider killed", 6, func(f *faults, r *rand.Rand) { f.restart(r, false) }},
	{"provider restarted", 2, func(f *faults, r *rand.Rand) { f.restart(r, true) }},
	{"Omni's adapter restarted", 2, func(f *faults, _ *rand.Rand) { f.later(f.adapter) }},
}

// refusals are the errors of a NAS with internal faults.
var refusals = []*sim.CallError{
	{Errno: 14, Reason: "[EFAULT] Simulated fault"},
	{Errno: 16, Reason: "[EBUSY] Simulated: the resource is busy"},
	{Errno: 28, Reason: "[ENOSPC] Simulated: no space left on device"},
	{Errno: 12, Reason: "[ENOMEM] Simulated: cannot allocate memory"},
	{Errno: 110, Reason: "[ETIMEDOUT] Simulated: the operation timed out"},
	{Errno: 5, Reason: "[EIO] Simulated: input/output error"},
}

var jobMethods = []string{"vm.stop", "vm.restart", "vm.device.convert", "vm.import_disk_image", "replication.run_onetime", "filesystem.put"}

// gap is the average number of calls between two faults.
const gap = 30

// faults injects faults at calls to the NAS. The seed determines which, and after how many calls.
type faults struct {
	nas       *sim.Sim
	processes []*process
	adapter   func() // restarts Omni's adapter
	failed    func(format string, args ...any)

	mu      sync.Mutex
	random  *rand.Rand
	active  bool
	left    int // number of calls until the next fault
	count   map[string]int
	log     []string
	pending sync.WaitGroup // faults in progress
	calls   int
}

func (f *faults) begin(random *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.random, f.active, f.left = random, true, 1+random.IntN(2*gap)
}

// end stops the faults and waits for the end of those in progress.
func (f *faults) end() {
	f.mu.Lock()
	f.active = false
	f.mu.Unlock()
	f.nas.ClearFaults()
	f.pending.Wait()
	f.nas.SetOffline(false)
}

// called is the hook of every call to the NAS.
func (f *faults) called(_ int, method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if !f.active {
		return
	}
	if f.left--; f.left > 0 {
		return
	}
	f.left = 1 + f.random.IntN(2*gap)
	m := f.draw()
	f.count[m.name]++
	f.log = append(f.log, fmt.Sprintf("call %d (%s): %s", f.calls, method, m.name))
	m.do(f, f.random)
}

func (f *faults) draw() faultKind {
	all := 0
	for _, m := range faultKinds {
		all += m.share
	}
	n := f.random.IntN(all)
	for _, m := range faultKinds {
		if n -= m.share; n < 0 {
			return m
		}
	}
	return faultKinds[0]
}

func (f *faults) atACall(r *rand.Rand, then sim.Action) {
	f.nas.Inject(sim.Fault{Nth: 1 + r.IntN(5), Then: then})
}

// later runs a function in another goroutine, because the call that triggers it must not wait for it.
func (f *faults) later(do func()) { f.pending.Go(do) }

func (f *faults) restart(r *rand.Rand, graceful bool) {
	p := f.processes[r.IntN(len(f.processes))]
	f.later(func() {
		if err := p.restart(graceful); err != nil {
			f.failed("%s does not start: %v", p.instance, err)
		}
	})
}
