package inventory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// world is a NAS with two VMs whose state counts up, and its messages in transit: a reply shows the state of the NAS at some moment
// between the query and the reply's arrival, and an event arrives at some time after its cause.
type world struct {
	t       *testing.T
	roster  *roster
	version [2]int // of each VM; -1: deleted
	newest  [2]int // the newest version that a caller has received; 1000: absent
	asked   []question
	events  []truenas.Event // in transit
	queue   []truenas.Event // arrived, and not handled yet
	heard   uint64
	ordered bool // events arrive in the order in which they were sent
	steps   []string
}

const absent = 1000

type question struct {
	vm     int // -1: all
	before Moment
	reply  []truenas.VM
	have   bool // the NAS has computed the reply
}

func uuidOf(vm int) string { return fmt.Sprint("uuid-", vm) }

func (w *world) row(vm int) truenas.VM {
	return truenas.VM{ID: int64(vm + 1), UUID: uuidOf(vm), MemoryMiB: int64(w.version[vm]), Status: truenas.VMStatus{State: truenas.StateRunning}}
}

func (w *world) now() Moment { return Moment{w.roster.clock, w.heard} }

func (w *world) rows(vm int) (rows []truenas.VM) {
	for i := range w.version {
		if (vm < 0 || vm == i) && w.version[i] >= 0 {
			rows = append(rows, w.row(i))
		}
	}
	return rows
}

// answered compares the version that a caller receives with the newest one so far.
func (w *world) answered(vm, version int) {
	if version < w.newest[vm] {
		w.t.Fatalf("VM %d goes back from version %d to %d after %q", vm, w.newest[vm], version, w.steps)
	}
	w.newest[vm] = version
}

// describe reads the roster, and queries the NAS if the roster does not know the VM.
func (w *world) describe(vm int) {
	if got, ok := w.roster.known(uuidOf(vm)); ok {
		w.answered(vm, int(got.MemoryMiB))
		return
	}
	w.asked = append(w.asked, question{vm: vm, before: w.now()})
}

// deliver lets a reply arrive.
func (w *world) deliver(i int) {
	q := w.asked[i]
	if !q.have {
		q.reply = w.rows(q.vm)
	}
	w.asked = append(w.asked[:i:i], w.asked[i+1:]...)
	if q.vm < 0 {
		if !w.roster.takeList(q.reply, q.before) {
			for vm := range w.version {
				if e, ok := w.roster.vms[int64(vm+1)]; ok && e.vm.UUID != "" {
					w.answered(vm, int(e.vm.MemoryMiB)) // The version in ListVMs.
				}
			}
		}
		return
	}
	switch again := w.roster.takeOne(uuidOf(q.vm), q.reply, q.before); {
	case again:
		w.asked = append(w.asked, question{vm: q.vm, before: w.now()})
	case len(q.reply) == 0:
		w.answered(q.vm, absent)
	default:
		w.answered(q.vm, int(q.reply[0].MemoryMiB))
	}
}

// change lets the NAS change or delete a VM; the event is in transit.
func (w *world) change(vm int, remove bool) {
	if w.version[vm] < 0 {
		return
	}
	w.version[vm]++
	e := truenas.Event{Kind: truenas.EventChanged, ID: int64(vm + 1), Fields: json.RawMessage(fmt.Sprintf(`{"memory":%d}`, w.version[vm]))}
	if remove {
		w.version[vm], e = -1, truenas.Event{Kind: truenas.EventRemoved, ID: int64(vm + 1)}
	}
	w.events = append(w.events, e)
}

// arrive lets an event arrive. Events of different threads of the NAS may overtake
// each other.
func (w *world) arrive(i int) {
	e := w.events[i]
	w.events = append(w.events[:i:i], w.events[i+1:]...)
	w.heard++
	e.Seq = w.heard
	w.queue = append(w.queue, e)
}

// take passes the event that arrived first to the roster.
func (w *world) take() {
	e := w.queue[0]
	w.queue = w.queue[1:]
	w.roster.vmEvent(e)
}

// moves lists the possible next steps.
func (w *world) moves() map[string]func() {
	moves := map[string]func(){"request the list": func() { w.asked = append(w.asked, question{vm: -1, before: w.now()}) }}
	if len(w.queue) > 0 {
		moves[fmt.Sprintf("take the event of %d", w.queue[0].ID-1)] = w.take
	}
	for vm := range w.version {
		moves[fmt.Sprint("describe ", vm)] = func() { w.describe(vm) }
		moves[fmt.Sprint("change ", vm)] = func() { w.change(vm, false) }
		moves[fmt.Sprint("delete ", vm)] = func() { w.change(vm, true) }
	}
	for i, q := range w.asked {
		moves[fmt.Sprintf("reply %d (of %d)", i, q.vm)] = func() { w.deliver(i) }
		if !q.have {
			moves[fmt.Sprintf("work out reply %d (of %d)", i, q.vm)] = func() { w.asked[i].reply, w.asked[i].have = w.rows(q.vm), true }
		}
	}
	for i, e := range w.events {
		if i == 0 || !w.ordered {
			moves[fmt.Sprintf("event %d (of %d) arrives", i, e.ID-1)] = func() { w.arrive(i) }
		}
	}
	return moves
}

func (w *world) clone() *world {
	c := *w
	c.roster = w.roster.clone()
	c.asked = append([]question(nil), w.asked...)
	c.events = append([]truenas.Event(nil), w.events...)
	c.queue = append([]truenas.Event(nil), w.queue...)
	c.steps = append([]string(nil), w.steps...)
	return &c
}

func (r *roster) clone() *roster {
	c := newRoster()
	c.clock, c.listed, c.since, c.staleAt, c.settled, c.stale = r.clock, r.listed, r.since, r.staleAt, r.settled, r.stale
	for id, e := range r.vms {
		copied := *e
		c.vms[id] = &copied
	}
	copyMap(c.byUUID, r.byUUID)
	copyMap(c.devices, r.devices)
	copyMap(c.orphans, r.orphans)
	copyMap(c.gone, r.gone)
	copyMap(c.queried, r.queried)
	return c
}

func copyMap[K comparable, V any](to, from map[K]V) {
	for k, v := range from {
		to[k] = v
	}
}

// TestDescribeNeverGoesBackInTime tries all orders in which the replies, the lists and the events of two VMs can arrive: no caller
// receives a version of a VM that is older than an earlier caller's.
func TestDescribeNeverGoesBackInTime(t *testing.T) {
	start := &world{t: t, roster: newRoster()}
	start.roster.takeList(start.rows(-1), Moment{})
	// One VM is stale, and two queries are in flight.
	for _, name := range []string{"change 0", "event 0 (of 0) arrives", "take the event of 0", "describe 0", "request the list"} {
		start.moves()[name]()
	}
	depth := 5
	if !sampling.All(t) {
		depth = 4
	}
	orders := 0
	var explore func(w *world, left int)
	explore = func(w *world, left int) {
		orders++
		w.consistent()
		if left == 0 {
			return
		}
		for name := range w.moves() {
			next := w.clone()
			next.steps = append(next.steps, name)
			next.moves()[name]()
			explore(next, left-1)
		}
	}
	explore(start, depth)
	t.Logf("%d orders", orders)
}

// TestDescribeNeverGoesBackInTimeInLongRuns is the same for long random runs.
func TestDescribeNeverGoesBackInTimeInLongRuns(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := &world{t: t, roster: newRoster(), ordered: seed%2 == 0}
		w.roster.takeList(w.rows(-1), Moment{})
		for range 60 {
			moves := w.moves()
			names := make([]string, 0, len(moves))
			for name := range moves {
				names = append(names, name)
			}
			// A map has no order, and the run must be repeatable.
			slices.Sort(names)
			name := names[random.IntN(len(names))]
			if strings.HasPrefix(name, "delete") && random.IntN(10) > 0 {
				continue // Most moves do not apply to a deleted VM.
			}
			w.steps = append(w.steps, name)
			moves[name]()
			w.consistent()
		}
		if w.ordered {
			w.deliverAll()
		}
	}
}

// consistent checks the roster's counters against its entries.
func (w *world) consistent() {
	stale := 0
	for id, e := range w.roster.vms {
		if e.stale {
			stale++
		}
		if e.vm.UUID != "" && w.roster.byUUID[e.vm.UUID] != id {
			w.t.Fatalf("VM %d is not found by its UUID after %q", id, w.steps)
		}
	}
	if stale != w.roster.stale {
		w.t.Fatalf("%d VMs are stale and %d are counted after %q", stale, w.roster.stale, w.steps)
	}
}

// deliverAll delivers everything in flight. Then the cache equals the NAS, and callers get the current version.
func (w *world) deliverAll() {
	for len(w.events) > 0 {
		w.arrive(0)
	}
	for len(w.queue) > 0 {
		w.take()
	}
	for len(w.asked) > 0 {
		w.deliver(0)
	}
	for vm, version := range w.version {
		got, ok := w.roster.known(uuidOf(vm))
		if ok && (version < 0 || int(got.MemoryMiB) != version) {
			w.t.Fatalf("VM %d is at version %d and is reported at %d after %q", vm, version, got.MemoryMiB, w.steps)
		}
	}
}
