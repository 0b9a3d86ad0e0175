package server

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"virtrigaud-provider-truenas/truenas"
)

// inventoryAge is how old the copy may grow before it is read anew. Events keep it true but for
// devices, of whose changes TrueNAS tells nobody.
const inventoryAge = time.Minute

// lookAge is how often a look may try to read the list, when that fails.
const lookAge = 10 * time.Second

// askTimeout bounds a shared call to the NAS; the manager waits 30 s for Describe.
const askTimeout = 25 * time.Second

// inventory is a copy of the NAS's list of VMs, kept true by its events. It answers the polls
// of the manager, which asks for every VM every ten seconds, without a call to the NAS.
//
// It is only ever trusted for what is there: whoever is about to say "absent" asks the NAS.
type inventory struct {
	nas    *truenas.Client
	cancel func()
	flight singleflight.Group

	hits, misses atomic.Uint64 // questions for one VM that were answered from the copy, and that were passed on

	mu     sync.Mutex
	vms    map[int64]*entry
	byUUID map[string]int64
	read   time.Time // when the list was last read; zero: it must be read before it is used
	listed bool      // it was read at least once
	looked time.Time // when a look last tried to read it
	events uint64    // counts what may have overtaken a reading under way
}

type entry struct {
	vm    truenas.VM
	stale bool   // an event said that something changed, and not what
	event uint64 // the event that changed it last
}

func newInventory(nas *truenas.Client) *inventory {
	inv := &inventory{nas: nas, vms: map[int64]*entry{}, byUUID: map[string]int64{}}
	inv.cancel = nas.Subscribe("vm.query", inv.event)
	return inv
}

func (inv *inventory) close() { inv.cancel() }

// get answers the VM with this UUID, from the copy when it is true. The error is
// [truenas.ErrNotFound] only when the NAS itself said so just now.
func (inv *inventory) get(ctx context.Context, uuid string) (truenas.VM, error) {
	if err := inv.ready(ctx); err != nil {
		return truenas.VM{}, err
	}
	if vm, ok := inv.known(uuid); ok {
		inv.hits.Add(1)
		return vm, nil
	}
	inv.misses.Add(1)
	return inv.fetch(ctx, uuid)
}

func (inv *inventory) known(uuid string) (truenas.VM, bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	e, ok := inv.vms[inv.byUUID[uuid]]
	if !ok || e.stale {
		return truenas.VM{}, false
	}
	return e.vm, true
}

// fetch asks the NAS for one VM, together with all who ask for it at the same time.
func (inv *inventory) fetch(ctx context.Context, uuid string) (truenas.VM, error) {
	return share(ctx, &inv.flight, "vm "+uuid, func(ctx context.Context) (truenas.VM, error) { return inv.current(ctx, uuid) })
}

// current asks the NAS for one VM now: what is answered is not older than the question. TrueNAS
// does not keep UUIDs unique: of several the first made is taken.
func (inv *inventory) current(ctx context.Context, uuid string) (truenas.VM, error) {
	before := inv.mark()
	list, err := inv.nas.VMs.ByUUID(ctx, uuid)
	if err != nil {
		return truenas.VM{}, err
	}
	inv.forget(uuid)
	for i := len(list) - 1; i >= 0; i-- {
		inv.put(list[i], before)
	}
	if len(list) == 0 {
		return truenas.VM{}, errAbsent(uuid)
	}
	return list[0], nil
}

// ready reads the list unless it was read; one reading serves all who wait.
func (inv *inventory) ready(ctx context.Context) error {
	switch age := inv.age(); {
	case age < 0:
		_, err := inv.list(ctx)
		return err
	case age > inventoryAge:
		// The copy is still good to answer from; the reading is for the next ones.
		inv.refresh(ctx)
	}
	return nil
}

// refresh starts a reading and does not wait for it; a failure shows at the next one who must.
func (inv *inventory) refresh(ctx context.Context) {
	inv.mu.Lock()
	inv.read = time.Now() // Nobody else starts one meanwhile.
	inv.mu.Unlock()
	go func() { _, _ = inv.list(context.WithoutCancel(ctx)) }()
}

func (inv *inventory) age() time.Duration {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.read.IsZero() {
		return -1
	}
	return time.Since(inv.read)
}

// list reads all VMs from the NAS.
func (inv *inventory) list(ctx context.Context) ([]truenas.VM, error) {
	return share(ctx, &inv.flight, "list", func(ctx context.Context) ([]truenas.VM, error) {
		before := inv.mark()
		list, err := inv.nas.VMs.List(ctx)
		if err == nil {
			inv.replace(list, before)
		}
		return list, err
	})
}

// look is the copy for somebody who wants to know what there is and not what became of one VM. It asks the NAS only when
// there is no copy, and then not again and again. known says whether there ever was one.
func (inv *inventory) look(ctx context.Context, connected bool) (vms []truenas.VM, known bool) {
	if connected && inv.due() {
		_, _ = inv.list(ctx) // What is known is told, and the next one to look tries again.
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, e := range inv.vms {
		if e.vm.UUID != "" {
			vms = append(vms, e.vm)
		}
	}
	return vms, inv.listed
}

// due says whether a look has to read the list.
func (inv *inventory) due() bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if !inv.read.IsZero() || time.Since(inv.looked) < lookAge {
		return false
	}
	inv.looked = time.Now()
	return true
}

func (inv *inventory) mark() uint64 {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.events
}

// replace takes a list that was read after event number before. What events changed since then
// is doubtful and asked for again.
func (inv *inventory) replace(list []truenas.VM, before uint64) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	old := inv.vms
	inv.vms, inv.byUUID = make(map[int64]*entry, len(list)), make(map[string]int64, len(list))
	for i := len(list) - 1; i >= 0; i-- { // The first made of equal UUIDs wins.
		vm := list[i]
		e := &entry{vm: vm}
		if was, ok := old[vm.ID]; ok && was.event > before {
			e.stale, e.event = true, was.event
		}
		inv.vms[vm.ID], inv.byUUID[vm.UUID] = e, vm.ID
	}
	inv.read, inv.listed = time.Now(), true
}

// put takes one VM that was read after event number before.
func (inv *inventory) put(vm truenas.VM, before uint64) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if was, ok := inv.vms[vm.ID]; ok && was.event > before {
		was.stale = true
		return
	}
	inv.vms[vm.ID] = &entry{vm: vm, event: before}
	inv.byUUID[vm.UUID] = vm.ID
}

// patch takes what a call of ours just did to a VM, made after event number before. An event
// that came meanwhile knows better.
func (inv *inventory) patch(vm truenas.VM, before uint64) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if was, ok := inv.vms[vm.ID]; !ok || was.event <= before {
		inv.vms[vm.ID] = &entry{vm: vm, event: before}
		inv.byUUID[vm.UUID] = vm.ID
	}
}

// forget drops what is known of a UUID.
func (inv *inventory) forget(uuid string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if id, ok := inv.byUUID[uuid]; ok {
		delete(inv.vms, id)
		delete(inv.byUUID, uuid)
	}
}

// event takes what the NAS says of its VMs.
func (inv *inventory) event(e truenas.Event) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.events++
	switch e.Kind {
	case truenas.EventReset, truenas.EventLost:
		inv.read = time.Time{} // Whatever was missed must be read again.
	case truenas.EventRemoved:
		if was, ok := inv.vms[e.ID]; ok && inv.byUUID[was.vm.UUID] == e.ID {
			delete(inv.byUUID, was.vm.UUID)
		}
		delete(inv.vms, e.ID)
	case truenas.EventAdded, truenas.EventChanged:
		inv.merge(e)
	}
}

// merge lays an event's fields over what is known. An event of 25.10 and before has no devices
// and may carry a state that is none of the API's; such an entry is asked for when it is needed.
func (inv *inventory) merge(e truenas.Event) {
	was, ok := inv.vms[e.ID]
	if !ok {
		was = &entry{stale: true}
		inv.vms[e.ID] = was
	}
	was.event = inv.events
	// What callers were handed shares these; decoding must not write into it.
	vm := was.vm
	vm.Devices, vm.CPUModel, vm.Status.PID = nil, nil, nil
	if json.Unmarshal(e.Fields, &vm) != nil || !knownState(vm.Status.State) {
		was.stale = true
		return
	}
	if vm.Devices == nil {
		vm.Devices = was.vm.Devices
	}
	was.vm, was.stale = vm, vm.Devices == nil // Without devices it is not all there is to know.
	if vm.UUID != "" && !ok {
		inv.byUUID[vm.UUID] = e.ID
	}
}

func knownState(state string) bool {
	switch state {
	case truenas.StateRunning, truenas.StateStopped, truenas.StateSuspended, truenas.StateError:
		return true
	}
	return false
}
