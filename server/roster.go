package server

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// roster is the copy of the NAS's list of VMs and the rules that keep it true.
// It makes no calls and knows no time; [inventory] guards it.
//
// Replies and events overtake each other on their way, so the order in which
// they arrive says little. What is certain is this: a reply is not older than its
// question, nor than the cause of an event that arrived before the question. From
// that follow the rules:
//
//   - A reply counts only if no other reply about the same VM was taken since its
//     question: it may be older than what was answered with. Then one asks again.
//   - An event that shows something new makes what is known of the VM doubtful,
//     unless the question for that came later. It never replaces a reply.
//   - The doubt ends when the last event shows what is known: the NAS sends the
//     events of one kind in order, and reads a VM when it sends one.
//   - A VM that is known to be deleted comes back only by a reply whose question
//     came after that.
type roster struct {
	clock   uint64            // counts the replies that were taken
	vms     map[int64]*entry  // by TrueNAS's number
	byUUID  map[string]int64  // the first made of those that share a UUID
	devices map[int64]int64   // the VM of each device
	orphans map[int64]uint64  // devices that are new, of a VM that the event did not name
	gone    map[int64]moment  // when a VM was found to be deleted
	asked   map[string]uint64 // when a reply about a UUID was last taken
	listed  uint64            // when a list was last taken; 0: never
	since   moment            // when that list was asked for
	doubt   uint64            // the event that made all doubtful
	settled uint64            // when gone and asked were last emptied
	stale   int               // how many entries are doubtful
}

// moment is the time of a question: the replies taken and the events that had
// arrived before it. Of what came in between it is one of the two.
type moment struct{ clock, heard uint64 }

func (m moment) after(o moment) bool { return m.clock > o.clock || m.heard > o.heard }

type entry struct {
	vm      truenas.VM  // as the NAS last answered; without a UUID it never did
	changed moment      // when something last made it doubtful
	news    moment      // when an event of the VM itself last did
	stale   bool        // vm is doubtful
	latest  *truenas.VM // what the last of those events shows; nil: nothing of use
	kinds   int         // of the events since it is doubtful: 1 without devices, 2 with them
}

func newRoster() *roster {
	return &roster{
		vms: map[int64]*entry{}, byUUID: map[string]int64{}, devices: map[int64]int64{},
		orphans: map[int64]uint64{}, gone: map[int64]moment{}, asked: map[string]uint64{},
	}
}

func (r *roster) tick() uint64 {
	r.clock++
	return r.clock
}

// ready says whether the copy is complete but for what is doubtful by name.
func (r *roster) ready() bool {
	return r.listed > 0 && r.since.heard >= r.doubt && len(r.orphans) == 0
}

// known answers a VM of which nothing is doubtful.
func (r *roster) known(uuid string) (truenas.VM, bool) {
	e, ok := r.vms[r.byUUID[uuid]]
	if !ok || e.stale || !r.ready() {
		return truenas.VM{}, false
	}
	return e.vm, true
}

// latest answers what events told of a VM since the NAS last answered, for when
// it does not answer.
func (r *roster) latest(uuid string) (truenas.VM, bool) {
	e, ok := r.vms[r.byUUID[uuid]]
	if !ok || e.latest == nil {
		return truenas.VM{}, false
	}
	return *e.latest, true
}

// takeOne takes the reply to a question for the VMs of a UUID. again says that it
// may be older than what was answered with since.
func (r *roster) takeOne(uuid string, rows []truenas.VM, before moment) (again bool) {
	deleted := func(vm truenas.VM) bool { return r.gone[vm.ID].after(before) }
	if r.overtaken(uuid, before) || slices.ContainsFunc(rows, deleted) {
		return true
	}
	n := r.tick()
	r.asked[uuid] = n
	if id, ok := r.byUUID[uuid]; ok && !slices.ContainsFunc(rows, func(vm truenas.VM) bool { return vm.ID == id }) {
		r.remove(id, moment{clock: n})
	}
	for _, vm := range rows {
		r.put(vm, before)
	}
	return false
}

// overtaken says whether a reply about a UUID was taken since the question.
func (r *roster) overtaken(uuid string, before moment) bool {
	return max(r.asked[uuid], r.listed, r.settled) > before.clock
}

// note takes what is known of one VM since before: a reply that has nothing of
// others with its UUID. When it may be too old, the VM becomes doubtful.
func (r *roster) note(vm truenas.VM, before moment) {
	if r.overtaken(vm.UUID, before) || r.gone[vm.ID].after(before) {
		r.touch(vm.ID, moment{clock: r.tick()})
		return
	}
	r.asked[vm.UUID] = r.tick()
	r.put(vm, before)
}

// takeList takes the reply to a question for all VMs.
func (r *roster) takeList(rows []truenas.VM, before moment) (again bool) {
	if r.listed > before.clock {
		return true
	}
	n := r.tick()
	there := make(map[int64]bool, len(rows))
	for _, vm := range rows {
		there[vm.ID] = true
		if !r.gone[vm.ID].after(before) && r.asked[vm.UUID] <= before.clock {
			r.put(vm, before)
		}
	}
	for id, e := range r.vms {
		if !there[id] && !e.changed.after(before) && r.asked[e.vm.UUID] <= before.clock {
			r.remove(id, moment{clock: n})
		}
	}
	for id, seq := range r.orphans {
		if seq <= before.heard {
			delete(r.orphans, id)
		}
	}
	r.listed, r.since = n, before
	return false
}

// put notes what the NAS answered of a VM.
func (r *roster) put(vm truenas.VM, before moment) {
	e := r.entry(vm.ID)
	r.unlink(e)
	e.vm = vm
	r.doubted(e, e.changed.after(before) && !(e.changed == e.news && e.confirmed()))
	if first, ok := r.byUUID[vm.UUID]; !ok || vm.ID < first {
		r.byUUID[vm.UUID] = vm.ID
	}
	for _, d := range vm.Devices {
		r.devices[d.ID] = vm.ID
		delete(r.orphans, d.ID)
	}
	delete(r.gone, vm.ID)
}

// confirmed says whether the last event shows what is known, and no event of
// another kind may have overtaken it.
func (e *entry) confirmed() bool {
	return e.latest != nil && e.kinds != 3 && same(*e.latest, e.vm)
}

// same compares two VMs but for what changes at each start and the order of their
// devices.
func same(a, b truenas.VM) bool {
	a.Status.PID, a.Status.DomainState = b.Status.PID, b.Status.DomainState
	a.Devices, b.Devices = byNumber(a.Devices), byNumber(b.Devices)
	return reflect.DeepEqual(a, b)
}

func byNumber(devices []truenas.Device) []truenas.Device {
	return slices.SortedFunc(slices.Values(devices), func(a, b truenas.Device) int { return cmp.Compare(a.ID, b.ID) })
}

func (r *roster) entry(id int64) *entry {
	e, ok := r.vms[id]
	if !ok {
		e = &entry{}
		r.vms[id] = e
	}
	return e
}

func (r *roster) doubted(e *entry, stale bool) {
	switch {
	case stale && !e.stale:
		r.stale++
	case !stale && e.stale:
		r.stale--
	}
	if e.stale = stale; !stale {
		e.latest, e.kinds = nil, 0
	}
}

// unlink forgets how an entry is found.
func (r *roster) unlink(e *entry) {
	if r.byUUID[e.vm.UUID] == e.vm.ID {
		delete(r.byUUID, e.vm.UUID)
	}
	for _, d := range e.vm.Devices {
		if r.devices[d.ID] == e.vm.ID {
			delete(r.devices, d.ID)
		}
	}
}

// remove notes that a VM is deleted.
func (r *roster) remove(id int64, when moment) {
	r.gone[id] = when
	e, ok := r.vms[id]
	if !ok {
		return
	}
	r.doubted(e, false)
	if e.vm.UUID != "" {
		r.unlink(e)
	}
	delete(r.vms, id)
}

// forget makes what is known of a UUID doubtful: the next to ask for it asks the
// NAS.
func (r *roster) forget(uuid string) {
	n := r.tick()
	r.asked[uuid] = n
	if id, ok := r.byUUID[uuid]; ok {
		r.touch(id, moment{clock: n})
	}
}

// settleAt is from how many marks on they are dropped.
const settleAt = 1024

// settle is called when no question is under way. The marks that only serve to
// judge the replies to old questions are dropped when there are many.
func (r *roster) settle() {
	if len(r.gone)+len(r.asked) < settleAt {
		return
	}
	clear(r.gone)
	clear(r.asked)
	r.settled = r.clock
}

// vmEvent takes an event of vm.query.
func (r *roster) vmEvent(e truenas.Event) {
	switch e.Kind {
	case truenas.EventReset, truenas.EventLost:
		r.doubt = e.Seq // Whatever was missed must be read again.
	case truenas.EventRemoved:
		r.remove(e.ID, moment{heard: e.Seq})
	case truenas.EventAdded, truenas.EventChanged:
		r.shown(e)
	}
}

// deviceEvent takes an event of vm.device.query. TrueNAS 25.04 names the device
// and nothing else; a new one may be any VM's then.
func (r *roster) deviceEvent(e truenas.Event) {
	var fields struct {
		VM int64 `json:"vm"`
	}
	when := moment{heard: e.Seq}
	vm, known := r.devices[e.ID]
	if e.Fields != nil && json.Unmarshal(e.Fields, &fields) == nil && fields.VM != 0 {
		r.touch(fields.VM, when)
		known = known && vm != fields.VM // It may have moved.
	}
	switch e.Kind {
	case truenas.EventReset, truenas.EventLost:
		r.doubt = e.Seq
	case truenas.EventRemoved:
		delete(r.orphans, e.ID)
	case truenas.EventAdded:
		if !known && fields.VM == 0 {
			r.orphans[e.ID] = e.Seq
		}
	}
	if known {
		r.touch(vm, when)
	}
}

// touch makes a VM doubtful.
func (r *roster) touch(id int64, when moment) *entry {
	if _, deleted := r.gone[id]; deleted {
		return nil // An event that was overtaken by that of the removal.
	}
	e := r.entry(id)
	e.changed = moment{max(e.changed.clock, when.clock), max(e.changed.heard, when.heard)}
	r.doubted(e, true)
	e.latest = nil
	return e
}

// shown takes an event that shows a VM. Up to 25.10 it may be without devices, and
// its state a word that is none of the API's; on 25.04 it may show nothing.
func (r *roster) shown(event truenas.Event) {
	var vm *truenas.VM
	kind := 2
	e := r.vms[event.ID]
	if e != nil && e.vm.UUID != "" && event.Fields != nil {
		vm, kind = decodeOver(e.vm, event.Fields)
	}
	if vm != nil && same(*vm, e.vm) {
		if e.stale && e.changed == e.news && e.kinds|kind != 3 {
			r.doubted(e, false)
		}
		if !e.stale {
			return
		}
	}
	fresh := e == nil || !e.stale || e.changed == e.news
	if e = r.touch(event.ID, moment{heard: event.Seq}); e == nil {
		return
	}
	if e.latest, e.kinds = vm, e.kinds|kind; fresh {
		e.news = e.changed
	}
}

// decodeOver lays the fields of an event over what is known. nil is a state that
// is unknown.
func decodeOver(vm truenas.VM, fields json.RawMessage) (*truenas.VM, int) {
	// What callers were handed shares these; decoding must not write into it.
	devices := vm.Devices
	vm.Status.PID, vm.Devices = nil, nil
	vm.CPUModel, vm.CPUSet, vm.NodeSet, vm.MachineType = "", "", "", "" // Decoding null keeps what a text holds.
	if json.Unmarshal(fields, &vm) != nil || !plainState(&vm.Status) {
		return nil, 1
	}
	if vm.Devices != nil {
		return &vm, 2
	}
	vm.Devices = devices
	return &vm, 1
}

// plainState writes the state in the API's words, where an event has libvirt's.
func plainState(s *truenas.VMStatus) bool {
	switch s.State {
	case truenas.StateShutoff:
		s.State = truenas.StateStopped
		return true
	case truenas.StateRunning, truenas.StateStopped, truenas.StateSuspended, truenas.StateError:
		return true
	}
	return false
}
