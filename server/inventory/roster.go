package inventory

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// roster is the copy of the NAS's list of VMs and the rules that keep it current.
// It makes no calls and reads no clock; [Cache] guards it.
//
// Replies and events overtake each other, so their order of arrival proves little.
// Certain is: a reply is not older than its query, nor than the cause of an event
// that arrived before the query. The rules follow from that:
//
//   - A reply counts only if no other reply about the same VM was stored since its
//     query, because it may be older than that one. Otherwise the query is repeated.
//   - An event with a new state makes the entry stale, unless the query of the entry
//     came later. An event never replaces a reply.
//   - The entry is current again when the last event shows the stored state: the NAS
//     sends the events of one kind in order, and reads a VM when it sends one.
//   - A deleted VM reappears only by a reply whose query came after the deletion.
type roster struct {
	clock   uint64            // counts the stored replies
	vms     map[int64]*entry  // by TrueNAS's id
	byUUID  map[string]int64  // the oldest VM with the UUID
	devices map[int64]int64   // the VM of each device
	orphans map[int64]uint64  // new devices whose event did not name the VM
	gone    map[int64]Moment  // when a VM was found deleted
	queried map[string]uint64 // when a reply about a UUID was last stored
	listed  uint64            // when a list was last stored; 0: never
	since   Moment            // when that list was queried
	staleAt uint64            // the event that made all entries stale
	settled uint64            // when gone and queried were last emptied
	stale   int               // how many entries are stale
}

// Moment is the logical time of a query: the number of replies stored and of events
// received before it.
type Moment struct{ clock, heard uint64 }

func (m Moment) after(o Moment) bool { return m.clock > o.clock || m.heard > o.heard }

type entry struct {
	vm      truenas.VM  // as last stored; without a UUID: never
	changed Moment      // when it last became stale
	news    Moment      // when an event of the VM itself last made it stale
	stale   bool        // vm may be outdated
	latest  *truenas.VM // the VM in the last of those events; nil: incomplete
	kinds   int         // bits of the events since it is stale: 1 without devices, 2 with devices
}

func newRoster() *roster {
	return &roster{
		vms: map[int64]*entry{}, byUUID: map[string]int64{}, devices: map[int64]int64{},
		orphans: map[int64]uint64{}, gone: map[int64]Moment{}, queried: map[string]uint64{},
	}
}

func (r *roster) tick() uint64 {
	r.clock++
	return r.clock
}

// ready reports whether the copy is complete, apart from stale entries.
func (r *roster) ready() bool {
	return r.listed > 0 && r.since.heard >= r.staleAt && len(r.orphans) == 0
}

// known returns a VM whose entry is current.
func (r *roster) known(uuid string) (truenas.VM, bool) {
	e, ok := r.vms[r.byUUID[uuid]]
	if !ok || e.stale || !r.ready() {
		return truenas.VM{}, false
	}
	return e.vm, true
}

// latest returns the VM of the last event, for when a query fails.
func (r *roster) latest(uuid string) (truenas.VM, bool) {
	e, ok := r.vms[r.byUUID[uuid]]
	if !ok || e.latest == nil {
		return truenas.VM{}, false
	}
	return *e.latest, true
}

// takeOne stores the reply to a query for the VMs of a UUID. again reports that the
// reply may be older than one that was stored meanwhile.
func (r *roster) takeOne(uuid string, rows []truenas.VM, before Moment) (again bool) {
	deleted := func(vm truenas.VM) bool { return r.gone[vm.ID].after(before) }
	if r.overtaken(uuid, before) || slices.ContainsFunc(rows, deleted) {
		return true
	}
	n := r.tick()
	r.queried[uuid] = n
	if id, ok := r.byUUID[uuid]; ok && !slices.ContainsFunc(rows, func(vm truenas.VM) bool { return vm.ID == id }) {
		r.remove(id, Moment{clock: n})
	}
	for _, vm := range rows {
		r.put(vm, before)
	}
	return false
}

// overtaken reports whether a reply about a UUID was stored since the query.
func (r *roster) overtaken(uuid string, before Moment) bool {
	return max(r.queried[uuid], r.listed, r.settled) > before.clock
}

// note stores one VM of a query sent at before that did not request other VMs with
// its UUID. When it may be too old, the entry becomes stale.
func (r *roster) note(vm truenas.VM, before Moment) {
	if r.overtaken(vm.UUID, before) || r.gone[vm.ID].after(before) {
		r.touch(vm.ID, Moment{clock: r.tick()})
		return
	}
	r.queried[vm.UUID] = r.tick()
	r.put(vm, before)
}

// takeList stores the reply to a query for all VMs.
func (r *roster) takeList(rows []truenas.VM, before Moment) (again bool) {
	if r.listed > before.clock {
		return true
	}
	n := r.tick()
	there := make(map[int64]bool, len(rows))
	for _, vm := range rows {
		there[vm.ID] = true
		if !r.gone[vm.ID].after(before) && r.queried[vm.UUID] <= before.clock {
			r.put(vm, before)
		}
	}
	for id, e := range r.vms {
		if !there[id] && !e.changed.after(before) && r.queried[e.vm.UUID] <= before.clock {
			r.remove(id, Moment{clock: n})
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

// put stores a VM.
func (r *roster) put(vm truenas.VM, before Moment) {
	e := r.entry(vm.ID)
	r.unlink(e)
	e.vm = vm
	r.setStale(e, e.changed.after(before) && !(e.changed == e.news && e.confirmed()))
	if first, ok := r.byUUID[vm.UUID]; !ok || vm.ID < first {
		r.byUUID[vm.UUID] = vm.ID
	}
	for _, d := range vm.Devices {
		r.devices[d.ID] = vm.ID
		delete(r.orphans, d.ID)
	}
	delete(r.gone, vm.ID)
}

// confirmed reports whether the last event equals the stored VM, and no event of
// another kind can have overtaken it.
func (e *entry) confirmed() bool {
	return e.latest != nil && e.kinds != 3 && same(*e.latest, e.vm)
}

// same compares two VMs, except for what changes at each start and the order of
// their devices.
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

func (r *roster) setStale(e *entry, stale bool) {
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

// unlink removes an entry from the indexes.
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

// remove records that a VM is deleted.
func (r *roster) remove(id int64, when Moment) {
	r.gone[id] = when
	e, ok := r.vms[id]
	if !ok {
		return
	}
	r.setStale(e, false)
	if e.vm.UUID != "" {
		r.unlink(e)
	}
	delete(r.vms, id)
}

// forget makes the entry of a UUID stale.
func (r *roster) forget(uuid string) {
	n := r.tick()
	r.queried[uuid] = n
	if id, ok := r.byUUID[uuid]; ok {
		r.touch(id, Moment{clock: n})
	}
}

// settleAt is the number of marks from which they are dropped.
const settleAt = 1024

// settle is called when no query is in flight. It drops the marks that only serve to
// compare replies to earlier queries, when there are many.
func (r *roster) settle() {
	if len(r.gone)+len(r.queried) < settleAt {
		return
	}
	clear(r.gone)
	clear(r.queried)
	r.settled = r.clock
}

// vmEvent handles an event of vm.query.
func (r *roster) vmEvent(e truenas.Event) {
	switch e.Kind {
	case truenas.EventReset, truenas.EventLost:
		r.staleAt = e.Seq // Missed events: read the list again.
	case truenas.EventRemoved:
		r.remove(e.ID, Moment{heard: e.Seq})
	case truenas.EventAdded, truenas.EventChanged:
		r.shown(e)
	}
}

// deviceEvent handles an event of vm.device.query. On TrueNAS 25.04 it has only the
// id of the device; a new device may belong to any VM.
func (r *roster) deviceEvent(e truenas.Event) {
	var fields struct {
		VM int64 `json:"vm"`
	}
	when := Moment{heard: e.Seq}
	vm, known := r.devices[e.ID]
	if e.Fields != nil && json.Unmarshal(e.Fields, &fields) == nil && fields.VM != 0 {
		r.touch(fields.VM, when)
		known = known && vm != fields.VM // The device may have moved.
	}
	switch e.Kind {
	case truenas.EventReset, truenas.EventLost:
		r.staleAt = e.Seq
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

// touch makes an entry stale.
func (r *roster) touch(id int64, when Moment) *entry {
	if _, deleted := r.gone[id]; deleted {
		return nil // The event of the removal overtook this one.
	}
	e := r.entry(id)
	e.changed = Moment{max(e.changed.clock, when.clock), max(e.changed.heard, when.heard)}
	r.setStale(e, true)
	e.latest = nil
	return e
}

// shown handles an event with a VM. Up to 25.10 it may lack devices, and have a state
// that the API does not define; on 25.04 it may have no fields.
func (r *roster) shown(event truenas.Event) {
	var vm *truenas.VM
	kind := 2
	e := r.vms[event.ID]
	if e != nil && e.vm.UUID != "" && event.Fields != nil {
		vm, kind = decodeOver(e.vm, event.Fields)
	}
	if vm != nil && same(*vm, e.vm) {
		if e.stale && e.changed == e.news && e.kinds|kind != 3 {
			r.setStale(e, false)
		}
		if !e.stale {
			return
		}
	}
	fresh := e == nil || !e.stale || e.changed == e.news
	if e = r.touch(event.ID, Moment{heard: event.Seq}); e == nil {
		return
	}
	if e.latest, e.kinds = vm, e.kinds|kind; fresh {
		e.news = e.changed
	}
}

// decodeOver applies the fields of an event to the stored VM. It returns nil for an
// unknown state.
func decodeOver(vm truenas.VM, fields json.RawMessage) (*truenas.VM, int) {
	// VMs returned to callers share the slice; decoding must not write into it.
	devices := vm.Devices
	vm.Status.PID, vm.Devices = nil, nil
	vm.CPUModel, vm.CPUSet, vm.NodeSet, vm.MachineType = "", "", "", "" // Decoding null does not change a string.
	if json.Unmarshal(fields, &vm) != nil || !plainState(&vm.Status) {
		return nil, 1
	}
	if vm.Devices != nil {
		truenas.InBootOrder(vm) // Events list devices by id, in the order in which they were made.
		return &vm, 2
	}
	vm.Devices = devices
	return &vm, 1
}

// plainState replaces libvirt's states, which events may have, by the API's.
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
