package inventory

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

// maxAge is the maximum age of the copy when the API key cannot subscribe to events of devices.
const maxAge = time.Minute

// peekInterval is the minimum time between two attempts of [Cache.Peek] to read the list.
const peekInterval = 10 * time.Second

// CallTimeout bounds a shared or background call to the NAS; the manager waits 30 s for Describe.
const CallTimeout = 25 * time.Second

// maxStale is the number of stale VMs from which one list is read instead of each VM.
const maxStale = 16

// maxAttempts bounds the repetitions of a query whose reply may be older than a reply that arrived meanwhile.
const maxAttempts = 5

// Cache is a copy of the NAS's list of VMs, kept current by its events. It answers the polls of the manager, which queries
// every VM every ten seconds, without a call to the NAS. Use [New]; it is safe for concurrent use.
type Cache struct {
	nas    *truenas.Client
	cancel []func()
	flight singleflight.Group

	hits, misses atomic.Uint64

	mu       sync.Mutex
	roster   *roster
	inFlight int       // queries in flight
	read     time.Time // time of the last read of the list
	looked   time.Time // time of the last attempt of Peek
	devices  bool      // events of devices arrive
}

// New subscribes to the events of VMs and devices; it makes no other call.
func New(nas *truenas.Client) *Cache {
	inv := &Cache{nas: nas, roster: newRoster()}
	inv.cancel = []func(){
		nas.Subscribe("vm.query", func(e truenas.Event) { inv.handle(e, inv.roster.vmEvent) }),
		nas.Subscribe("vm.device.query", inv.handleDevice),
	}
	return inv
}

// Close ends the subscriptions.
func (inv *Cache) Close() {
	for _, cancel := range inv.cancel {
		cancel()
	}
}

func (inv *Cache) handle(e truenas.Event, take func(truenas.Event)) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	take(e)
}

func (inv *Cache) handleDevice(e truenas.Event) {
	inv.handle(e, func(e truenas.Event) {
		switch e.Kind {
		case truenas.EventReset:
			inv.devices = true
		case truenas.EventLost:
			inv.devices = false
		}
		inv.roster.deviceEvent(e)
	})
}

// Get returns the VM with this UUID, from the copy when that is current. The error is [truenas.ErrNotFound] only after a query
// of the NAS. When that query fails, the last event of the VM is used.
func (inv *Cache) Get(ctx context.Context, uuid string) (truenas.VM, error) {
	if err := inv.ready(ctx); err != nil {
		return truenas.VM{}, err
	}
	if vm, ok := inv.Cached(uuid); ok {
		inv.hits.Add(1)
		return vm, nil
	}
	inv.misses.Add(1)
	vm, err := inv.Refresh(ctx, uuid)
	if err != nil && !errors.Is(err, truenas.ErrNotFound) {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		if vm, ok := inv.roster.latest(uuid); ok {
			return vm, nil
		}
	}
	return vm, err
}

// Cached returns the VM with this UUID if the cached copy is current.
func (inv *Cache) Cached(uuid string) (truenas.VM, bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.roster.known(uuid)
}

// Refresh queries the NAS for a VM. Concurrent callers share the query, so TrueNAS may have replied before the call.
func (inv *Cache) Refresh(ctx context.Context, uuid string) (truenas.VM, error) {
	return Share(ctx, &inv.flight, "vm "+uuid, func(ctx context.Context) (truenas.VM, error) { return inv.Read(ctx, uuid) })
}

// Read queries the NAS for a VM: the result is not older than the call, nor than any earlier result. TrueNAS does not keep
// UUIDs unique; of several VMs the oldest is returned.
func (inv *Cache) Read(ctx context.Context, uuid string) (truenas.VM, error) {
	list, err := attempt(ctx, inv,
		func(ctx context.Context) ([]truenas.VM, error) { return inv.nas.VMs.ByUUID(ctx, uuid) },
		func(list []truenas.VM, before Moment) bool { return inv.roster.takeOne(uuid, list, before) })
	if err != nil {
		return truenas.VM{}, err
	}
	if len(list) == 0 {
		return truenas.VM{}, Absent(uuid)
	}
	return list[0], nil
}

// attempt queries the NAS and passes the reply to take; it repeats the query when the reply may be too old.
func attempt[T any](ctx context.Context, inv *Cache, call func(context.Context) (T, error), take func(T, Moment) (again bool)) (T, error) {
	for range maxAttempts {
		before := inv.begin()
		reply, err := call(ctx)
		if again := inv.end(func() bool { return err == nil && take(reply, before) }); !again {
			return reply, err
		}
	}
	var none T
	return none, fmt.Errorf("list of VMs: changes faster than TrueNAS replies: %w", truenas.ErrUnavailable)
}

func (inv *Cache) begin() Moment {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.inFlight++
	return Moment{inv.roster.clock, inv.nas.Heard()}
}

func (inv *Cache) end(take func() bool) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	again := take()
	if inv.inFlight--; inv.inFlight == 0 {
		inv.roster.settle()
	}
	return again
}

// ready reads the list when there is none, when many VMs are stale, or when it is too old. Concurrent callers share the query.
func (inv *Cache) ready(ctx context.Context) error {
	inv.mu.Lock()
	ready, many := inv.roster.ready(), inv.roster.stale >= maxStale
	old := !inv.devices && time.Since(inv.read) > maxAge
	if old {
		inv.read = time.Now() // Prevents concurrent queries.
	}
	inv.mu.Unlock()
	switch {
	case !ready:
		_, err := inv.List(ctx)
		return err
	case many:
		_, _ = inv.List(ctx) // After a failure each VM is read by itself.
	case old:
		// The copy is good enough for this call; the query is for later ones.
		go func() { _, _ = inv.List(context.WithoutCancel(ctx)) }()
	}
	return nil
}

// List queries the NAS for all VMs, oldest first, and updates the copy.
func (inv *Cache) List(ctx context.Context) ([]truenas.VM, error) {
	return Share(ctx, &inv.flight, "list", func(ctx context.Context) ([]truenas.VM, error) {
		_, err := attempt(ctx, inv, func(ctx context.Context) ([]truenas.VM, error) { return inv.nas.VMs.List(ctx) }, inv.takeList)
		if err != nil {
			return nil, err
		}
		return inv.all(), nil
	})
}

func (inv *Cache) takeList(list []truenas.VM, before Moment) bool {
	again := inv.roster.takeList(list, before)
	inv.read = time.Now()
	return again || !inv.roster.ready() // After a login, events may begin while the list is in flight.
}

// all returns the copy, oldest first.
func (inv *Cache) all() []truenas.VM {
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

// Peek returns the copy for displays, where stale states are acceptable. It queries the NAS only when there is no complete copy,
// and at most every ten seconds. known reports whether a list was ever read.
func (inv *Cache) Peek(ctx context.Context, connected bool) (vms []truenas.VM, known bool) {
	if connected && inv.due() {
		_, _ = inv.List(ctx) // After a failure Peek returns the old copy.
	}
	vms = inv.all()
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return vms, inv.roster.listed > 0
}

// due reports whether [Cache.Peek] has to read the list.
func (inv *Cache) due() bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.roster.ready() || time.Since(inv.looked) < peekInterval {
		return false
	}
	inv.looked = time.Now()
	return true
}

// Mark returns the current moment, for a later [Cache.Put].
func (inv *Cache) Mark() Moment {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return Moment{inv.roster.clock, inv.nas.Heard()}
}

// Put stores a VM as the NAS returned it to a query sent at before, or as a change by this process left it. When a newer reply
// may exist, the VM becomes stale instead and is queried when it is needed.
func (inv *Cache) Put(vm truenas.VM, before Moment) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.roster.note(vm, before)
}

// Invalidate makes the copy of a VM stale: the next lookup queries the NAS.
func (inv *Cache) Invalidate(uuid string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.roster.forget(uuid)
}

// InvalidateID makes the copy of the VM with an id of the NAS stale, if there is one.
func (inv *Cache) InvalidateID(id int64) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if e, ok := inv.roster.vms[id]; ok {
		inv.roster.forget(e.vm.UUID)
	}
}

// Absent returns the error for an id that no VM on the NAS has; it wraps [truenas.ErrNotFound].
func Absent(id string) error { return fmt.Errorf("vm %q: %w", id, truenas.ErrNotFound) }

// Counts returns how many calls of [Cache.Get] the copy answered, and how many the NAS.
func (inv *Cache) Counts() (hits, misses uint64) {
	return inv.hits.Load(), inv.misses.Load()
}
