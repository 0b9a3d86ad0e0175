package sim

import (
	"encoding/json"
	"testing"
)

const sharedUUID = "e66a319d-0d98-4526-953a-03a61f26b6e4"

// Up to 25.10 a VM with the UUID of another VM is refused only after its record was made, and the record remains. It has the
// state ERROR if its name is different.
func TestRecordWithDuplicateUUIDRemains(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		n := newDirect(t, release)
		n.newVM("one", object{"uuid": sharedUUID})
		n.fails(eINVAL, "operation failed: domain '1_one' is already defined with uuid "+sharedUUID, "vm.create", object{"name": "two", "memory": 512, "uuid": sharedUUID})
		if s := n.machine(2).Status; s.State != stateError || s.DomainState == nil || *s.DomainState != stateError {
			t.Errorf("%s: the second machine is %+v", release, s)
		}
		n.fails(eFAULT, "Unable to define domain for two", "vm.start", 2)
		n.fails(eFAULT, "Libvirt Domain for two does not exist", "vm.poweroff", 2)
		n.fails(eFAULT, "Unable to locate domain for two", "vm.update", 2, object{"name": "three"})
		n.fails(eFAULT, "Unable to retrieve VM status", "vm.delete", 2)
		n.must(nil, "vm.delete", 2, object{"force": true})
		if got := n.state(1); got != stopped {
			t.Errorf("%s: the first VM is %s after the deletion of the second one with another name", release, got)
		}
	}
}

// From 26 on libvirt learns of a VM when it starts, so two records can have the same UUID.
func TestDuplicateUUIDsFrom26(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		n := newDirect(t, release)
		a, b := n.newVM("one", object{"uuid": sharedUUID}), n.newVM("two", object{"uuid": sharedUUID})
		n.must(nil, "vm.start", a)
		if got := n.state(b); got != running {
			t.Errorf("%s: the second record with the UUID is %s while the first runs", release, got)
		}
		n.fails(eFAULT, "already running", "vm.start", b)
	}
}

// duplicates creates a VM twice at once: both calls find the name free, and the second reply comes last.
func duplicates(n *direct) error {
	n.t.Helper()
	p := object{"name": "pair", "memory": 512, "uuid": sharedUUID}
	slow := &call{
		sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: "vm.create", params: []json.RawMessage{mustJSON(n.t, p)},
		during: func() { n.must(nil, "vm.create", p) },
	}
	_, err := n.plain(slow, n.methods["vm.create"])
	return err
}

// Two concurrent vm.create with the same name and UUID, up to 25.10: the second is refused and its record remains. Both records
// have the first one's domain, so the deletion of the second removes the domain: the first has the state ERROR until it is
// started or deleted.
func TestConcurrentCreatesLeaveTwoRecords(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			if err := duplicates(n); err == nil || err.Error() != "operation failed: domain '1_pair' is already defined with uuid "+sharedUUID {
				t.Fatalf("the second vm.create: %v", err)
			}
			n.must(nil, "vm.start", 2)
			if n.state(1) != running || n.state(2) != running {
				t.Errorf("started through its second record, it is %s and %s", n.state(1), n.state(2))
			}
			n.must(nil, "vm.delete", 2, object{"force": true})
			if got := n.state(1); got != stateError {
				t.Errorf("after the deletion of the second record the first is %s", got)
			}
			n.fails(eFAULT, "Unable to retrieve VM status", "vm.delete", 1)
			n.must(nil, "vm.start", 1)
			if got := n.state(1); got != running {
				t.Errorf("after a start it is %s", got)
			}
		})
	}
}

// The deletion of a duplicate record powers off the VM that runs through the first record.
func TestDeleteOfDuplicatePowersOff(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		n := newDirect(t, release)
		_ = duplicates(n)
		n.must(nil, "vm.start", 1)
		n.must(nil, "vm.delete", 2, object{"force": true})
		if vms := n.VMs(); len(vms) != 1 || vms[0].State != stopped {
			t.Errorf("%s: left are %+v", release, vms)
		}
	}
}

// A restart of the middleware defines missing domains.
func TestMiddlewareRestartRepairsDuplicate(t *testing.T) {
	n := newDirect(t, "25.10")
	_ = duplicates(n)
	n.must(nil, "vm.delete", 2, object{"force": true})
	n.RestartMiddleware()
	if got := n.state(1); got != stopped {
		t.Errorf("it is %s", got)
	}
}

// From 26 on both calls succeed.
func TestConcurrentCreatesSucceedFrom26(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		n := newDirect(t, release)
		if err := duplicates(n); err != nil {
			t.Errorf("%s: %v", release, err)
		}
		if got := len(n.VMs()); got != 2 {
			t.Errorf("%s: %d records", release, got)
		}
	}
}

// A NIC with a multicast address is accepted, but libvirt refuses to define the VM again: up to 25.10 a start puts it into ERROR
// permanently.
func TestMulticastMACCannotBeStarted(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		id := n.newVM("one", nil)
		n.device(id, object{"dtype": "NIC", "nic_attach": "br0", "mac": "01:a0:98:00:00:01"})
		if got := n.state(id); got != stopped {
			t.Errorf("%s: with the NIC it is %s", release, got)
		}
		want, errno := stateError, eFAULT
		if n.release >= v26 {
			want, errno = stopped, eINVAL
		}
		n.fails(errno, "XML error: expected unicast mac address, found multicast '01:a0:98:00:00:01'", "vm.start", id)
		if got := n.state(id); got != want {
			t.Errorf("%s: after the start it is %s, want %s", release, got, want)
		}
		n.fails(errno, "XML error", "vm.start", id)
	}
}
