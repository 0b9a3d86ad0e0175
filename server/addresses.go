package server

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas"
)

// How often the addresses of guests are asked for. A guest that does not say is asked less and
// less often, since most have no agent at all.
const (
	addressAge    = 5 * time.Minute  // of known ones
	addressDelay  = time.Second      // after a start: nobody has an address any sooner
	addressFirst  = 10 * time.Second // between the first questions
	addressRarest = 10 * time.Minute
	arpAge        = 30 * time.Second
	deniedAge     = 10 * time.Minute // a key that may not ask is not tried again before
)

// addresses knows what guests are reachable by: from the guest's agent on 27, before that from
// the NAS's ARP table, which only has guests that the NAS talked to and which only a key with
// FULL_ADMIN may read. Nothing is guessed. Describe is answered with what is known, and what is
// too old is asked for behind its back.
type addresses struct {
	nas    *truenas.Client
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	slots  chan struct{} // questions at a time, so that they never crowd out the manager's calls

	mu     sync.Mutex
	guests map[int64]*guest // by TrueNAS's number, on 27
	arp    map[string][]string
	next   time.Time // when the ARP table is read again
	asking bool      // the ARP table
}

type guest struct {
	pid    int64 // of the hypervisor's process: another one is another boot
	ips    []string
	next   time.Time
	pause  time.Duration
	asking bool
}

func newAddresses(nas *truenas.Client) *addresses {
	a := &addresses{nas: nas, guests: map[int64]*guest{}, next: time.Now().Add(addressDelay), slots: make(chan struct{}, 2)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

func (a *addresses) close() {
	a.cancel()
	a.wait.Wait()
}

// of answers the addresses that are known of a VM, and has them asked for when they are old and
// ask says so; none for one that does not run.
func (a *addresses) of(vm truenas.VM, ask bool) []string {
	if vm.Status.State != truenas.StateRunning || len(macs(vm)) == 0 {
		return nil
	}
	if a.nas.Release().AtLeast(truenas.R27) {
		return a.fromAgent(vm, ask)
	}
	return a.fromARP(vm, ask)
}

func (a *addresses) fromARP(vm truenas.VM, ask bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ask && !a.asking && time.Now().After(a.next) {
		a.asking = true
		a.ask(a.readARP)
	}
	var ips []string
	for _, mac := range macs(vm) {
		ips = append(ips, a.arp[mac]...)
	}
	return worthTelling(ips)
}

func (a *addresses) readARP(ctx context.Context) {
	table, err := a.nas.System.ARP(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking, a.next = false, time.Now().Add(arpAge)
	switch {
	case err == nil:
		a.arp = table
	case errors.Is(err, truenas.ErrPermission), errors.Is(err, truenas.ErrUnsupported):
		a.arp, a.next = nil, time.Now().Add(deniedAge)
	}
}

func (a *addresses) fromAgent(vm truenas.VM, ask bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pid int64
	if vm.Status.PID != nil {
		pid = *vm.Status.PID
	}
	g, ok := a.guests[vm.ID]
	if !ok || g.pid != pid {
		g = &guest{pid: pid, pause: addressFirst, next: time.Now().Add(addressDelay)}
		a.guests[vm.ID] = g
	}
	if ask && !g.asking && time.Now().After(g.next) {
		g.asking = true
		a.ask(func(ctx context.Context) { a.readAgent(ctx, vm.ID, g) })
	}
	return g.ips
}

func (a *addresses) readAgent(ctx context.Context, vm int64, g *guest) {
	interfaces, err := a.nas.VMs.GuestInterfaces(ctx, vm)
	var ips []string
	for _, i := range interfaces {
		for _, address := range i.Addresses {
			ips = append(ips, address.IP)
		}
	}
	ips = worthTelling(ips)
	a.mu.Lock()
	defer a.mu.Unlock()
	g.asking = false
	if err == nil && len(ips) > 0 {
		g.ips, g.next, g.pause = ips, time.Now().Add(addressAge), addressFirst
		return
	}
	g.next, g.pause = time.Now().Add(g.pause), min(2*g.pause, addressRarest)
}

// ask runs a question in the background; the lock is held.
func (a *addresses) ask(question func(context.Context)) {
	if a.ctx.Err() != nil {
		return
	}
	a.wait.Add(1)
	go func() {
		defer a.wait.Done()
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-a.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(a.ctx, askTimeout)
		defer cancel()
		question(ctx)
	}()
}

// worthTelling leaves out what nobody outside the guest can use, and what comes twice.
func worthTelling(ips []string) []string {
	var list []netip.Addr
	for _, text := range ips {
		ip, err := netip.ParseAddr(text)
		if err == nil && ip.IsGlobalUnicast() {
			list = append(list, ip)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	var told []string
	for _, ip := range slices.Compact(list) {
		told = append(told, ip.String())
	}
	return told
}
