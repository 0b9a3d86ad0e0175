package inventory

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas"
)

// Intervals of the queries for addresses. The interval of a guest without addresses doubles, since most have no agent.
const (
	knownInterval  = 5 * time.Minute  // for a guest with addresses
	startDelay     = time.Second      // after a start, before the first query
	minInterval    = 10 * time.Second // after the first query
	maxInterval    = 10 * time.Minute
	arpInterval    = 30 * time.Second
	deniedInterval = 10 * time.Minute // after the API key was refused
)

// Addresses collects the IP addresses of guests: from the guest agent on TrueNAS 27, before that from the ARP table of the NAS,
// which only has guests that the NAS communicated with and needs a key with FULL_ADMIN. Describe gets the known addresses;
// queries run in the background. Use [NewAddresses]; it is safe for concurrent use.
type Addresses struct {
	nas    *truenas.Client
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	slots  chan struct{} // limits concurrent queries, so that they do not delay the manager's calls

	mu     sync.Mutex
	guests map[int64]*guest // by TrueNAS's number, on 27
	arp    map[string][]string
	next   time.Time // time of the next query of the ARP table
	asking bool      // a query of the ARP table is in flight
}

type guest struct {
	pid    int64 // the id of the hypervisor's process; it changes with each boot
	ips    []string
	next   time.Time
	pause  time.Duration
	asking bool
}

// NewAddresses returns an empty collection; it makes no call.
func NewAddresses(nas *truenas.Client) *Addresses {
	a := &Addresses{nas: nas, guests: map[int64]*guest{}, next: time.Now().Add(startDelay), slots: make(chan struct{}, 2)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Close cancels the queries in the background and waits for them.
func (a *Addresses) Close() {
	a.cancel()
	a.wait.Wait()
}

// Of returns the known addresses of a VM with these MAC addresses; none unless it runs. With ask, it refreshes outdated
// addresses in the background.
func (a *Addresses) Of(vm truenas.VM, macs []string, ask bool) []string {
	if vm.Status.State != truenas.StateRunning || len(macs) == 0 {
		return nil
	}
	if a.nas.Release().AtLeast(truenas.R27) {
		return a.fromAgent(vm, ask)
	}
	return a.fromARP(macs, ask)
}

func (a *Addresses) fromARP(macs []string, ask bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ask && !a.asking && time.Now().After(a.next) {
		a.asking = true
		a.background(a.readARP)
	}
	var ips []string
	for _, mac := range macs {
		ips = append(ips, a.arp[mac]...)
	}
	return reachable(ips)
}

func (a *Addresses) readARP(ctx context.Context) {
	table, err := a.nas.System.ARP(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking, a.next = false, time.Now().Add(arpInterval)
	switch {
	case err == nil:
		a.arp = table
	case errors.Is(err, truenas.ErrPermission), errors.Is(err, truenas.ErrUnsupported):
		a.arp, a.next = nil, time.Now().Add(deniedInterval)
	}
}

func (a *Addresses) fromAgent(vm truenas.VM, ask bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pid int64
	if vm.Status.PID != nil {
		pid = *vm.Status.PID
	}
	g, ok := a.guests[vm.ID]
	if !ok || g.pid != pid {
		g = &guest{pid: pid, pause: minInterval, next: time.Now().Add(startDelay)}
		a.guests[vm.ID] = g
	}
	if ask && !g.asking && time.Now().After(g.next) {
		g.asking = true
		a.background(func(ctx context.Context) { a.readAgent(ctx, vm.ID, g) })
	}
	return g.ips
}

func (a *Addresses) readAgent(ctx context.Context, vm int64, g *guest) {
	interfaces, err := a.nas.VMs.GuestInterfaces(ctx, vm)
	var ips []string
	for _, i := range interfaces {
		for _, address := range i.Addresses {
			ips = append(ips, address.IP)
		}
	}
	ips = reachable(ips)
	a.mu.Lock()
	defer a.mu.Unlock()
	g.asking = false
	if err == nil && len(ips) > 0 {
		g.ips, g.next, g.pause = ips, time.Now().Add(knownInterval), minInterval
		return
	}
	g.next, g.pause = time.Now().Add(g.pause), min(2*g.pause, maxInterval)
}

// background runs a query in the background; the caller holds the lock.
func (a *Addresses) background(query func(context.Context)) {
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
		ctx, cancel := context.WithTimeout(a.ctx, CallTimeout)
		defer cancel()
		query(ctx)
	}()
}

// reachable returns the global unicast addresses, sorted, without duplicates.
func reachable(ips []string) []string {
	var list []netip.Addr
	for _, text := range ips {
		ip, err := netip.ParseAddr(text)
		if err == nil && ip.IsGlobalUnicast() {
			list = append(list, ip)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	var texts []string
	for _, ip := range slices.Compact(list) {
		texts = append(texts, ip.String())
	}
	return texts
}
