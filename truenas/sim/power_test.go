package sim

import (
	"testing"
	"time"
)

func (n *direct) state(id int) string {
	n.t.Helper()
	return n.machine(id).Status.State
}

func TestStartAndPoweroff(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", nil)
			if s := n.machine(id).Status; s.State != stopped || s.PID != nil || (s.DomainState == nil) != (n.release >= v26) {
				t.Errorf("before the start: %+v", s)
			}
			errno, words := eFAULT, [3]string{"VM state is currently not 'RUNNING / SUSPENDED'", "VM state is currently not 'RUNNING'", "VM state is currently not 'SUSPENDED'"}
			if n.release >= v26 {
				errno, words = eINVAL, [3]string{"Domain 'one' does not exist", "Domain 'one' does not exist", "Domain 'one' does not exist"}
			}
			n.fails(errno, words[0], "vm.poweroff", id)
			n.fails(errno, words[1], "vm.stop", id)
			n.fails(errno, words[1], "vm.suspend", id)
			n.fails(errno, words[2], "vm.resume", id)
			n.must(nil, "vm.start", id)
			if s := n.machine(id).Status; s.State != running || s.PID == nil || s.DomainState == nil {
				t.Errorf("after the start: %+v", s)
			}
			n.fails(eFAULT, "'one' is already running", "vm.start", id)
			n.must(nil, "vm.suspend", id)
			if got := n.state(id); got != suspended {
				t.Errorf("after the suspend it is %s", got)
			}
			if n.release >= v26 {
				n.fails(eFAULT, "already running", "vm.start", id) // rule 23
			} else {
				n.fails(eFAULT, "'one' VM is suspended and can only be resumed/powered off", "vm.start", id)
			}
			n.must(nil, "vm.resume", id)
			n.must(nil, "vm.poweroff", id)
			if s := n.machine(id).Status; s.State != stopped || s.DomainState == nil || *s.DomainState != "SHUTOFF" {
				t.Errorf("after the power off (rule 26): %+v", s)
			}
			if n.release >= v26 {
				n.fails(eINVAL, "Domain 'one' is not active", "vm.poweroff", id)
			}
		})
	}
}

func TestMemoryRunsOut(t *testing.T) {
	n := newDirect(t, "25.10")
	a, b := n.newVM("a", object{"memory": 40 << 10}), n.newVM("b", object{"memory": 40 << 10})
	n.must(nil, "vm.start", a)
	var free int64
	n.must(&free, "vm.get_available_memory")
	if free != 24<<30 {
		t.Errorf("%d bytes are available", free)
	}
	n.fails(eNOMEM, "Cannot guarantee memory for guest b", "vm.start", b)
	n.must(nil, "vm.start", b, object{"overcommit": true})
}

func TestStopOfUnresponsiveGuestSucceeds(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", object{"shutdown_timeout": 30})
			n.SetGuest("one", Guest{IgnoresPowerButton: true})
			n.must(nil, "vm.start", id)
			began := n.clock.Now()
			n.must(nil, "vm.stop", id)
			if took := n.clock.Now().Sub(began); took < 30*time.Second || n.state(id) != running {
				t.Errorf("after %s it is %s", took, n.state(id))
			}
			n.must(nil, "vm.stop", id, object{"force_after_timeout": true})
			if got := n.state(id); got != stopped {
				t.Errorf("with force_after_timeout it is %s", got)
			}
		})
	}
}

func TestGuestTakesItsTimeToShutDown(t *testing.T) {
	n := newDirect(t, "25.10")
	id := n.newVM("one", object{"shutdown_timeout": 5})
	n.SetGuest("one", Guest{ShutdownTime: 60 * time.Second})
	n.must(nil, "vm.start", id)
	n.must(nil, "vm.stop", id)
	if got := n.state(id); got != running {
		t.Errorf("after the job it is %s", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	n.clock.Step(60 * time.Second)
	for n.state(id) != stopped {
		if time.Now().After(deadline) {
			t.Fatal("the guest did not shut down")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestBootingGuestIgnoresShutdown(t *testing.T) {
	n := newDirect(t, "27")
	id := n.newVM("one", object{"shutdown_timeout": 5})
	n.device(id, object{"dtype": "NIC", "nic_attach": "br0"})
	n.SetGuest("", Guest{BootTime: time.Minute, Agent: true, Addresses: []string{"192.0.2.10/24"}})
	n.must(nil, "vm.start", id)
	n.fails(eFAULT, "Guest agent", "vm.get_guest_network_interfaces", id)
	n.must(nil, "vm.stop", id)
	if got := n.state(id); got != running {
		t.Errorf("after a stop during its boot it is %s", got)
	}
	n.clock.Step(time.Minute)
	var nics []GuestInterface
	n.must(&nics, "vm.get_guest_network_interfaces", id)
	if len(nics) != 2 || nics[1].Addresses[0] != (GuestAddress{"192.0.2.10", 24, "IPV4"}) {
		t.Errorf("the agent reports %+v", nics)
	}
	n.must(nil, "vm.stop", id)
	if got := n.state(id); got != stopped {
		t.Errorf("it is %s", got)
	}
}

// Rule 22: a start without the node of a device names the device.
func TestStartWithMissingDevice(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.volume("tank/v", 1<<30, nil)
		id := n.newVM("one", nil)
		n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
		n.must(nil, "pool.dataset.delete", "tank/v")
		words := "VM will not start as DISK Device: /dev/zvol/tank/v device(s) are not available."
		if n.release >= v26 {
			words = "Cannot start domain 'one':\ndevice./dev/zvol/tank/v: Device /dev/zvol/tank/v is not available"
		}
		n.fails(eFAULT, words, "vm.start", id)
		if got := n.state(id); got != stopped {
			t.Errorf("%s: it is %s", release, got)
		}
	}
}

// Rule 6: the deletion of a dataset begins to stop all VMs that use a file in it. Open files remain until then; 27 waits for it.
func TestDatasetDeleteStopsMachines(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/isos/linux", "create_ancestors": true})
			if err := n.WriteFile("/mnt/tank/isos/linux/x.iso", []byte("x")); err != nil {
				t.Fatal(err)
			}
			var ids []int
			for _, name := range []string{"a", "b"} {
				id := n.newVM(name, nil)
				n.device(id, object{"dtype": "CDROM", "path": "/mnt/tank/isos/linux/x.iso"})
				n.must(nil, "vm.start", id)
				ids = append(ids, id)
			}
			other := n.newVM("c", nil)
			n.must(nil, "vm.start", other)
			_, err := n.call("pool.dataset.delete", "tank/isos", object{"recursive": true})
			if waits := n.release >= v27; waits != (err == nil) {
				t.Errorf("the deletion returns %v", err)
			}
			stops := func() bool { return n.state(ids[0]) == stopped && n.state(ids[1]) == stopped }
			for range 5000 {
				if stops() {
					break
				}
				if n.clock.Waiting() > 0 {
					n.clock.Step(time.Minute)
				}
				time.Sleep(time.Millisecond)
			}
			if !stops() || n.state(other) != running {
				t.Errorf("the VMs are %s and %s; the other one is %s", n.state(ids[0]), n.state(ids[1]), n.state(other))
			}
			if n.release < v27 {
				n.must(nil, "pool.dataset.delete", "tank/isos", object{"recursive": true})
			}
			n.fails(eFAULT, "/mnt/tank/isos/linux/x.iso", "vm.start", ids[0])
		})
	}
}
