package sim

import (
	"encoding/json"
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
			n.fails(eFAULT, "domain is not active", "vm.poweroff", id)
			n.fails(eFAULT, "domain is not active", "vm.stop", id)
			n.must(nil, "vm.start", id)
			if s := n.machine(id).Status; s.State != running || s.PID == nil || s.DomainState == nil {
				t.Errorf("after the start: %+v", s)
			}
			n.fails(eFAULT, "one is already running", "vm.start", id)
			n.must(nil, "vm.suspend", id)
			if got := n.state(id); got != suspended {
				t.Errorf("suspended, it is %s", got)
			}
			n.fails(eFAULT, "suspended", "vm.start", id)
			n.must(nil, "vm.resume", id)
			n.must(nil, "vm.poweroff", id)
			if got := n.state(id); got != stopped {
				t.Errorf("after the power off it is %s", got)
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

func TestStopOfADeafGuestSucceedsWhileItRuns(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", object{"shutdown_timeout": 30})
			n.SetGuest("one", Guest{Deaf: true})
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
		t.Errorf("when the job is done it is %s", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	n.clock.Step(60 * time.Second)
	for n.state(id) != stopped {
		if time.Now().After(deadline) {
			t.Fatal("the guest never went down")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestGuestThatStillBootsIsDeaf(t *testing.T) {
	n := newDirect(t, "27")
	id := n.newVM("one", object{"shutdown_timeout": 5})
	n.device(id, object{"dtype": "NIC", "nic_attach": "br0"})
	n.SetGuest("", Guest{BootTime: time.Minute, Agent: true, Addresses: []string{"192.0.2.10/24"}})
	n.must(nil, "vm.start", id)
	n.fails(eFAULT, "Guest agent", "vm.get_guest_network_interfaces", id)
	n.must(nil, "vm.stop", id)
	if got := n.state(id); got != running {
		t.Errorf("stopped while it booted, it is %s", got)
	}
	n.clock.Step(time.Minute)
	var nics []GuestInterface
	n.must(&nics, "vm.get_guest_network_interfaces", id)
	if len(nics) != 2 || nics[1].Addresses[0] != (GuestAddress{"192.0.2.10", 24, "IPV4"}) {
		t.Errorf("the agent says %+v", nics)
	}
	n.must(nil, "vm.stop", id)
	if got := n.state(id); got != stopped {
		t.Errorf("it is %s", got)
	}
}

func TestStartFailsWhenSomethingIsMissing(t *testing.T) {
	n := newDirect(t, "25.10")
	n.volume("tank/v", 1<<30, nil)
	id := n.newVM("one", nil)
	n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/v"})
	n.must(nil, "pool.dataset.delete", "tank/v")
	n.fails(eFAULT, "No such file or directory", "vm.start", id)
	if got := n.state(id); got != stopped {
		t.Errorf("it is %s", got)
	}
}

// Deleting a dataset stops whatever runs from a file in it.
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
			n.must(nil, "pool.dataset.delete", "tank/isos", object{"recursive": true})
			if n.state(ids[0]) != stopped || n.state(ids[1]) != stopped || n.state(other) != running {
				t.Errorf("they are %s, %s; the other is %s", n.state(ids[0]), n.state(ids[1]), n.state(other))
			}
			n.fails(eFAULT, "No such file or directory", "vm.start", ids[0])
		})
	}
}

// The events of vm.query, one word each: message and state.
func TestVMEvents(t *testing.T) {
	for _, tt := range []struct {
		release string
		want    []string
		devices bool
	}{
		{"25.04.2", []string{"added NOSTATE", "changed UPDATING CONFIGURATION", "changed SHUTOFF", "changed RUNNING", "changed SUSPENDED", "changed RUNNING", "changed SHUTOFF", "changed RUNNING", "changed SHUTOFF", "removed "}, false},
		{"25.10", []string{"added NOSTATE", "changed UPDATING CONFIGURATION", "changed SHUTOFF", "changed RUNNING", "changed SUSPENDED", "changed RUNNING", "changed SHUTOFF", "changed RUNNING", "changed SHUTOFF", "removed "}, false},
		{"26", []string{"added STOPPED", "changed STOPPED", "changed RUNNING", "changed SUSPENDED", "changed RUNNING", "changed STOPPED", "changed RUNNING", "changed STOPPED", "removed "}, true},
		{"27", []string{"added STOPPED", "changed STOPPED", "changed RUNNING", "changed SUSPENDED", "changed RUNNING", "changed STOPPED", "changed RUNNING", "changed STOPPED", "removed "}, true},
	} {
		t.Run(tt.release, func(t *testing.T) {
			n := newWire(t, Config{Release: tt.release})
			p := n.login()
			p.must("core.subscribe", "vm.query")
			p.must("vm.create", object{"name": "one", "memory": 512})
			p.must("vm.device.create", object{"vm": 1, "attributes": object{"dtype": "NIC"}}) // says nothing
			p.must("vm.update", 1, object{"memory": 1024})
			for _, method := range []string{"vm.start", "vm.suspend", "vm.resume", "vm.poweroff", "vm.start"} {
				p.must(method, 1)
			}
			n.PowerOffGuest("one")
			p.must("vm.delete", 1)
			for i, want := range tt.want {
				e := p.event("vm.query")
				var fields struct {
					Devices *[]any
					Status  struct{ State string }
				}
				if e.Params.Fields != nil {
					if err := json.Unmarshal(e.Params.Fields, &fields); err != nil {
						t.Fatal(err)
					}
				}
				if got := e.Params.Msg + " " + fields.Status.State; got != want {
					t.Errorf("event %d is %q, want %q", i, got, want)
				}
				if e.Params.Msg != "removed" && (fields.Devices != nil) != tt.devices {
					t.Errorf("event %d has devices: %t", i, fields.Devices != nil)
				}
			}
		})
	}
}
