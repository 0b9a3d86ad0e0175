package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"virtrigaud-provider-truenas/truenas"
)

// inventoryAge is how old the copy may grow before it is read again, where the key may not hear of
// devices.
const inventoryAge = time.Minute

// lookAge is how often a look may try to read the list, when that fails.
const lookAge = 10 * time.Second

// askTimeout bounds a shared call to the NAS; the manager waits 30 s for Describe.
const askTimeout = 25 * time.Second

// manyStale is from how many doubtful VMs on one list is read instead of each VM.
const manyStale = 16

// askTries is how often a question is repeated whose reply may be older than what was answered
// meanwhile.
const askTries = 5

// inventory is a copy of the NAS's list of VMs, kept true by its events. It answers the polls
// of the manager, which asks for every VM every ten seconds, without a call to the NAS.
//
// It is only ever trusted for what is there: whoever is about to say "absent" asks the NAS.
type inventory struct {
	nas    *truenas.Client
	cancel []func()
	flight singleflight.Group

	hits, misses atomic.Uint64 // questions for one VM that were answered from the copy, and that were passed on

	mu      sync.Mutex
	roster  *roster
	asking  int       // questions under way
	read    time.Time // when the list was last read, or is being read
	looked  time.Time // when a look last tried to read it
	devices bool      // events of devices are heard
}

func newInventory(nas *truenas.Client) *inventory {
	inv := &inventory{nas: nas, roster: newRoster()}
	inv.cancel = []func(){
		nas.Subscribe("vm.query", func(e truenas.Event) { inv.hear(e, inv.roster.vmEvent) }),
		nas.Subscribe("vm.device.query", inv.hearDevices),
	}
	return inv
}

func (inv *inventory) close() {
	for _, cancel := range inv.cancel {
		cancel()
	}
}

func (inv *inventory) hear(e truenas.Event, take func(truenas.Event)) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	take(e)
}

func (inv *inventory) hearDevices(e truenas.Event) {
	inv.hear(e, func(e truenas.Event) {
		switch e.Kind {
		case truenas.EventReset:
			inv.devices = true
		case truenas.EventLost:
			inv.devices = false
		}
		inv.roster.deviceEvent(e)
	})
}

// get answers the VM with this UUID, from the copy when it is true. The error is
// [truenas.ErrNotFound] only when the NAS itself said so just now. While the NAS is too slow to
// answer, what its events told counts.
func (inv *inventory) get(ctx context.Context, uuid string) (truenas.VM, error) {
	if err := inv.ready(ctx); err != nil {
		return truenas.VM{}, err
	}
	if vm, ok := inv.known(uuid); ok {
		inv.hits.Add(1)
		return vm, nil
	}
	inv.misses.Add(1)
	vm, err := inv.fetch(ctx, uuid)
	if err != nil && !errors.Is(err, truenas.ErrNotFound) {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		if vm, ok := inv.roster.latest(uuid); ok {
			return vm, nil
		}
	}
	return vm, err
}

func (inv *inventory) known(uuid string) (truenas.VM, bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.roster.known(uuid)
}

// fetch asks the NAS for one VM, together with all who ask for it at the same time.
func (inv *inventory) fetch(ctx context.Context, uuid string) (truenas.VM, error) {
	return share(ctx, &inv.flight, "vm "+uuid, func(ctx context.Context) (truenas.VM, error) { return inv.current(ctx, uuid) })
}

// current asks the NAS for one VM now: what is answered is not older than the question, nor than
// what anybody was answered before. TrueNAS does not keep UUIDs unique: of several the first made
// is taken.
func (inv *inventory) current(ctx context.Context, uuid string) (truenas.VM, error) {
	list, err := ask(ctx, inv,
		func(ctx context.Context) ([]truenas.VM, error) { return inv.nas.VMs.ByUUID(ctx, uuid) },
		func(list []truenas.VM, before moment) bool { return inv.roster.takeOne(uuid, list, before) })
	if err != nil {
		return truenas.VM{}, err
	}
	if len(list) == 0 {
		return truenas.VM{}, errAbsent(uuid)
	}
	return list[0], nil
}

// ask asks the NAS and has the reply taken; it asks again when the reply may be too old.
func ask[T any](ctx context.Context, inv *inventory, call func(context.Context) (T, error), take func(T, moment) (again bool)) (T, error) {
	for range askTries {
		before := inv.begin()
		reply, err := call(ctx)
		if again := inv.end(func() bool { return err == nil && take(reply, before) }); !again {
			return reply, err
		}
	}
	var none T
	return none, fmt.Errorf("the list of VMs changes faster than TrueNAS answers: %w", truenas.ErrUnavailable)
}

func (inv *inventory) begin() moment {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.asking++
	return moment{inv.roster.clock, inv.nas.Heard()}
}

func (inv *inventory) end(take func() bool) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	again := take()
	if inv.asking--; inv.asking == 0 {
		inv.roster.settle()
	}
	return again
}

// ready reads the list where that is needed, or better than reading many VMs; one reading serves
// all who wait.
func (inv *inventory) ready(ctx context.Context) error {
	inv.mu.Lock()
	ready, many := inv.roster.ready(), inv.roster.stale >= manyStale
	old := !inv.devices && time.Since(inv.read) > inventoryAge
	if old {
		inv.read = time.Now() // Nobody else starts a reading meanwhile.
	}
	inv.mu.Unlock()
	switch {
	case !ready:
		_, err := inv.list(ctx)
		return err
	case many:
		_, _ = inv.list(ctx) // Without it each VM is read.
	case old:
		// The copy is still good to answer from; the reading is for the next ones.
		go func() { _, _ = inv.list(context.WithoutCancel(ctx)) }()
	}
	return nil
}

// list reads all VMs from the NAS. What is answered is as true as the copy is then.
func (inv *inventory) list(ctx context.Context) ([]truenas.VM, error) {
	return share(ctx, &inv.flight, "list", func(ctx context.Context) ([]truenas.VM, error) {
		_, err := ask(ctx, inv, func(ctx context.Context) ([]truenas.VM, error) { return inv.nas.VMs.List(ctx) }, inv.takeList)
		if err != nil {
			return nil, err
		}
		return inv.all(), nil
	})
}

func (inv *inventory) takeList(list []truenas.VM, before moment) bool {
	again := inv.roster.takeList(list, before)
	inv.read = time.Now()
	return again || !inv.roster.ready() // Right after a login events begin while the list is on its way.
}

// all lists what is known, oldest first.
func (inv *inventory) all() []truenas.VM {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	var vms []truenas.VM
	for _, e := range inv.roster.vms {
		if e.vm.UUID != "" {
			vms = append(vms, e.vm)
		}
	}
	slices.SortFunc(vms, func(a, b truenas.VM) int { return cmp.Compare(a.ID, b.ID) })
	return vms
}

// look is the copy for somebody who wants to know what there is and not the state of one VM. It
// asks the NAS only when there is no copy, and then not again and again. known says whether there
// ever was one.
func (inv *inventory) look(ctx context.Context, connected bool) (vms []truenas.VM, known bool) {
	if connected && inv.due() {
		_, _ = inv.list(ctx) // What is known is shown, and the next one to look tries again.
	}
	vms = inv.all()
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return vms, inv.roster.listed > 0
}

// due says whether a look has to read the list.
func (inv *inventory) due() bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.roster.ready() || time.Since(inv.looked) < lookAge {
		return false
	}
	inv.looked = time.Now()
	return true
}

// mark is the moment of a question, for put.
func (inv *inventory) mark() moment {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return moment{inv.roster.clock, inv.nas.Heard()}
}

// put takes what the NAS answered of a VM to a question that was asked at before, or what a call
// of ours has just done to it. When that cannot be told from something older, the VM is asked for
// when it is needed.
func (inv *inventory) put(vm truenas.VM, before moment) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.roster.note(vm, before)
}

// forget drops what is known of a UUID.
func (inv *inventory) forget(uuid string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.roster.forget(uuid)
}
