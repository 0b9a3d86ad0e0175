package inventory

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/singleflight"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// watched is a collection whose next query is due, with one VM on a NAS. The queries in the background wait until done is called.
type watched struct {
	*Addresses
	t   *testing.T
	nas *sim.Sim
	vm  truenas.VM
}

const guestMAC = "02:00:00:00:00:01"

func watch(t *testing.T, release string, guest sim.Guest) watched {
	t.Helper()
	api, nas := truenastest.New(t, truenastest.Release(release))
	a := NewAddresses(api)
	t.Cleanup(a.Close)
	if err := nas.AddVM("web", 1, 512); err != nil {
		t.Fatal(err)
	}
	nas.SetGuest("", guest)
	made, err := api.VMs.ByName(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: made.ID, Attributes: truenas.NIC("br0", guestMAC, "VIRTIO")}); err != nil {
		t.Fatal(err)
	}
	if err := api.VMs.Start(t.Context(), made.ID, false); err != nil {
		t.Fatal(err)
	}
	if made, err = api.VMs.Get(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	w := watched{a, t, nas, made}
	w.due()
	return w
}

// of returns the known addresses of the VM.
func (w watched) of(ask bool) []string { return w.Of(w.vm, []string{guestMAC}, ask) }

// due lets the time of the next query come.
func (w watched) due() {
	w.Of(w.vm, []string{guestMAC}, false) // On 27 the first call begins to watch the guest.
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = time.Now().Add(-time.Second)
	for _, g := range w.guests {
		g.next = time.Now().Add(-time.Second)
	}
}

// hold lets no query begin until the returned function is called, which also waits for all of them.
func (w watched) hold() (done func()) {
	for range cap(w.slots) {
		w.slots <- struct{}{}
	}
	return func() {
		for range cap(w.slots) {
			<-w.slots
		}
		w.wait.Wait()
	}
}

// queries counts the queries for addresses.
func (w watched) queries() int {
	return len(slices.DeleteFunc(w.nas.Calls(), func(method string) bool {
		return method != "core.arp" && method != "vm.get_guest_network_interfaces"
	}))
}

// untilNextQuery returns how long it is until the next query.
func (w watched) untilNextQuery() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g, ok := w.guests[w.vm.ID]; ok {
		return time.Until(g.next)
	}
	return time.Until(w.next)
}

// expectNext compares the time until the next query with an interval.
func (w watched) expectNext(interval time.Duration) {
	w.t.Helper()
	if got := w.untilNextQuery(); got > interval || got <= interval/2 {
		w.t.Errorf("the next query is in %v, want %v", got, interval)
	}
}

// TestOneQueryAtATime: callers that come while the NAS is asked do not ask again, nor does anyone before the next query is due.
func TestOneQueryAtATime(t *testing.T) {
	for _, release := range []string{"25.10", "27"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			w := watch(t, release, sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
			w.of(false)
			done := w.hold()
			for range 3 {
				if got := w.of(true); got != nil {
					t.Errorf("addresses before the NAS was asked: %v", got)
				}
			}
			done()
			if got := w.queries(); got != 1 {
				t.Errorf("%d queries", got)
			}
			if got := w.of(true); !slices.Equal(got, []string{"192.0.2.77"}) {
				t.Errorf("got %v", got)
			}
			w.wait.Wait()
			if got := w.queries(); got != 1 {
				t.Errorf("%d queries, although none was due", got)
			}
			w.due()
			w.of(true)
			w.wait.Wait()
			if got := w.queries(); got != 2 {
				t.Errorf("%d queries after another was due", got)
			}
		})
	}
}

// TestIntervals: guests without addresses are asked ever less often, and a refused key rarely. Addresses that a key may no longer
// read are forgotten; a failure of the NAS keeps them.
func TestIntervals(t *testing.T) {
	t.Run("25.10", func(t *testing.T) {
		t.Parallel()
		w := watch(t, "25.10", sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
		ask := func() []string {
			w.due()
			w.of(true)
			w.wait.Wait()
			return w.of(false)
		}
		if got := ask(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		w.expectNext(arpInterval)
		w.nas.Inject(sim.Fault{Method: "core.arp", Then: sim.Refuse})
		if got := ask(); len(got) != 1 {
			t.Errorf("after a failure: %v", got)
		}
		w.expectNext(arpInterval)
		w.nas.SetRoles(sim.DefaultUser, "VM_READ")
		if got := ask(); len(got) != 0 {
			t.Errorf("without the right: %v", got)
		}
		w.expectNext(deniedInterval)
	})
	t.Run("27", func(t *testing.T) {
		t.Parallel()
		w := watch(t, "27", sim.Guest{})
		ask := func() []string {
			w.due()
			w.of(true)
			w.wait.Wait()
			return w.of(false)
		}
		for _, interval := range []time.Duration{minInterval, 2 * minInterval, 4 * minInterval} {
			if got := ask(); len(got) > 0 {
				t.Errorf("got %v", got)
			}
			w.expectNext(interval)
		}
		w.nas.SetGuest("", sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
		if got := ask(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		w.expectNext(knownInterval)
		w.nas.SetGuest("", sim.Guest{})
		if got := ask(); len(got) != 1 {
			t.Errorf("the addresses of a guest whose agent stopped: %v", got)
		}
		w.expectNext(minInterval)
		pid := int64(4711)
		w.vm.Status.PID = &pid // It was started again.
		if got := w.of(false); len(got) > 0 {
			t.Errorf("addresses of before a start: %v", got)
		}
	})
}

// TestWhoseAddresses: a VM that is off or has no NIC has no addresses, and causes no query.
func TestWhoseAddresses(t *testing.T) {
	w := watch(t, "25.10", sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
	w.of(true)
	w.wait.Wait()
	off := w.vm
	off.Status.State = truenas.StateStopped
	w.due()
	for name, got := range map[string][]string{
		"off": w.Of(off, []string{guestMAC}, true), "without a NIC": w.Of(w.vm, nil, true), "another NIC": w.Of(w.vm, []string{"02:00:00:00:00:02"}, false),
	} {
		if len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	w.wait.Wait()
	if got := w.queries(); got != 1 {
		t.Errorf("%d queries", got)
	}
}

// TestCloseEndsQueries: a query that waits for its turn ends without a call, and none begins after Close.
func TestCloseEndsQueries(t *testing.T) {
	w := watch(t, "25.10", sim.Guest{})
	w.hold()
	w.of(true)
	w.Close()
	w.background(func(context.Context) { t.Error("a query began after Close") })
	w.wait.Wait()
	if got := w.queries(); got != 0 {
		t.Errorf("%d queries", got)
	}
}

// TestReachable: link-local, loopback and multicast addresses lead nowhere, and text that is none is left out.
func TestReachable(t *testing.T) {
	got := reachable([]string{"192.0.2.9", "fe80::1", "127.0.0.1", "224.0.0.1", "", "2001:db8::1", "192.0.2.10", "192.0.2.9", "169.254.1.1"})
	if want := []string{"192.0.2.9", "192.0.2.10", "2001:db8::1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestShareEndsWithItsCaller: a caller that gives up does not end the call of the others, and its error distinguishes a slow NAS from a
// cancelled caller.
func TestShareEndsWithItsCaller(t *testing.T) {
	var flight singleflight.Group
	hold := make(chan struct{})
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		_, err := Share(t.Context(), &flight, "k", func(ctx context.Context) (int, error) {
			close(begun)
			<-hold
			return 1, ctx.Err()
		})
		ended <- err
	}()
	<-begun
	never := func(context.Context) (int, error) { t.Error("a second call was made"); return 0, nil }
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Share(cancelled, &flight, "k", never); !errors.Is(err, context.Canceled) || err.Error() != context.Canceled.Error() {
		t.Errorf("cancelled: %v", err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := Share(late, &flight, "k", never); !errors.Is(err, context.DeadlineExceeded) || err.Error() == context.DeadlineExceeded.Error() {
		t.Errorf("late: %v", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := Share(t.Context(), &flight, "k", func(context.Context) (int, error) { return 0, truenas.ErrBusy }); !errors.Is(err, truenas.ErrBusy) {
		t.Errorf("got %v", err)
	}
}
