package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// slots is the maximum number of VMs of a worker.
const slots = 4

// worker is a client that uses VMs of one provider. It runs one operation at a time to completion. Its random numbers and its
// previous operations select the next one, so that the seed determines the sequence.
type worker struct {
	w         *world
	name      string
	processes []*process
	machines  []*machine
	random    *rand.Rand
	step      int
	both      bool // call both replicas at the same time
	at        int  // the replica to call first

	mu  sync.Mutex
	log []string
}

func newWorker(w *world, name string, processes []*process) *worker {
	k := &worker{w: w, name: name, processes: processes}
	for i := range slots {
		k.machines = append(k.machines, &machine{name: fmt.Sprintf("%s-vm-%d", name, i)})
	}
	return k
}

// note logs an operation. The report of a violation contains the log.
func (k *worker) note(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log = append(k.log, time.Now().Format("05.000 ")+text); len(k.log) > 400 {
		k.log = k.log[200:]
	}
}

// subject returns the part of an operation's text that names its object.
func (k *worker) subject(what string) string {
	_, about, ok := strings.Cut(what, " of ")
	if !ok {
		return ""
	}
	return " of " + about
}

func (k *worker) violated(format string, args ...any) {
	k.w.t.Helper()
	k.mu.Lock()
	last := slices.Clone(k.log[max(0, len(k.log)-40):])
	k.mu.Unlock()
	k.w.violated("seed %d, worker %s, step %d: %s\nlast:\n%s", k.w.seed, k.name, k.step, fmt.Sprintf(format, args...), strings.Join(last, "\n"))
}

// round runs some operations.
func (k *worker) round(random *rand.Rand, steps int) {
	k.random = random
	for range steps {
		if k.w.stopped() {
			return
		}
		k.step++
		k.both, k.at = len(k.processes) > 1 && random.IntN(4) == 0, random.IntN(len(k.processes))
		k.operation()
	}
	k.both = false
}

// operations lists the operations on a VM with their relative frequencies.
var operations = []struct {
	share  int
	exists bool // whether the VM must exist or must not exist
	do     func(*worker, *machine)
}{
	{10, false, (*worker).create},
	{3, false, (*worker).cloneInto},
	{2, false, (*worker).moveInto},
	{1, false, (*worker).absent},
	{2, true, (*worker).createAgain},
	{10, true, (*worker).powerOn},
	{5, true, (*worker).powerOff},
	{3, true, (*worker).shutDown},
	{3, true, (*worker).reboot},
	{4, true, (*worker).reconfigure},
	{6, true, (*worker).snapshot},
	{3, true, (*worker).revert},
	{3, true, (*worker).dropSnapshot},
	{6, true, (*worker).write},
	{4, true, (*worker).describe},
	{6, true, (*worker).remove},
	{2, true, (*worker).changeForeignVM},
	{2, true, (*worker).prepareImage},
	{2, true, (*worker).editByHand},
	{3, true, (*worker).takeByHand},
	{2, true, (*worker).holdByHand},
	{2, true, (*worker).copyByHand},
}

func (k *worker) operation() {
	m := k.machines[k.random.IntN(len(k.machines))]
	all := 0
	for _, op := range operations {
		if op.exists == m.exists() {
			all += op.share
		}
	}
	n := k.random.IntN(all)
	for _, op := range operations {
		if op.exists != m.exists() {
			continue
		}
		if n -= op.share; n < 0 {
			op.do(k, m)
			return
		}
	}
}

// free is a slot without a VM, or nil.
func (k *worker) other(exists bool, than *machine) *machine {
	var list []*machine
	for _, m := range k.machines {
		if m != than && m.exists() == exists {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[k.random.IntN(len(list))]
}
