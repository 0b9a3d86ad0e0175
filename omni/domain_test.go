package omni

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// racks returns an Omni with a1 and a2, which share the failure domain rackA, and b1, which has its own.
func racks(t *testing.T, configure map[string]func(*sim.Config)) (w *world, all map[string]*sim.Sim, links map[string]*link) {
	t.Helper()
	all, links = map[string]*sim.Sim{}, map[string]*link{}
	var backends []Backend
	for _, name := range []string{"a1", "a2", "b1"} {
		links[name] = &link{}
		client, nas := onNAS(t, "25.10", configure[name], links[name].option())
		all[name] = nas
		b := Backend{Name: name, Client: client}
		if name != "b1" {
			b.FailureDomain = "rackA"
		}
		backends = append(backends, b)
	}
	return newWorld(t, backends...), all, links
}

// counts returns the number of machines on each NAS.
func counts(all map[string]*sim.Sim) string {
	var list []string
	for name, nas := range all {
		list = append(list, fmt.Sprint(name, "=", len(machines(nas))))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// The machines of a set are spread over the failure domains first, and then over the NASes of each. Other sets do not count.
func TestMachinesAreSpreadOverFailureDomains(t *testing.T) {
	w, all, _ := racks(t, nil)
	_, stop := w.start()
	defer stop()
	for i, want := range []string{"a1", "b1", "a2", "b1"} {
		id := fmt.Sprintf("m%d", i)
		w.request(id, class)
		if at := w.provisioned(id).GetProvider(); at != want {
			t.Errorf("%s is on %s, want %s", id, at, want)
		}
	}
	if got := counts(all); got != "a1=1 a2=1 b1=2" {
		t.Errorf("the machines are on %s", got)
	}
	w.requestIn("others", "n0", class)
	if at := w.provisioned("n0").GetProvider(); at == "b1" {
		t.Error("a machine of another set is on b1, where the least memory is free")
	}
}

// Within a failure domain a machine is placed on the NAS with more free memory, and never on one without enough while another has
// enough.
func TestFailureDomainsDoNotOverfillANAS(t *testing.T) {
	small := func(c *sim.Config) { c.MemoryBytes = 3 << 30 }
	w, all, _ := racks(t, map[string]func(*sim.Config){"a1": small, "b1": small})
	_, stop := w.start()
	defer stop()
	for i := range 4 {
		w.request(fmt.Sprintf("m%d", i), class)
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if got := counts(all); got != "a1=1 a2=2 b1=1" {
		t.Errorf("the machines are on %s", got)
	}
}

// With spread strict-domain each machine of a set is in another failure domain. One machine too many waits until another is
// removed.
func TestStrictDomainGivesEachMachineItsFailureDomain(t *testing.T) {
	w, all, _ := racks(t, nil)
	_, stop := w.start()
	defer stop()
	strict := class + "spread: strict-domain\n"
	for i := range 2 {
		w.request(fmt.Sprintf("m%d", i), strict)
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	w.request("m2", strict)
	w.failed("m2", "spread is strict-domain, and each failure domain that takes this machine has one of its set; add a NAS in another one, or use fewer machines")
	if got := counts(all); got != "a1=1 a2=0 b1=1" {
		t.Errorf("the machines are on %s", got)
	}
	w.release("m1")
	if at := w.provisioned("m2").GetProvider(); at != "b1" {
		t.Errorf("the third machine is on %s", at)
	}
}

// The machine of an unreachable NAS counts for its failure domain, whose other NAS gets no second one.
func TestUnreachableNASCountsForItsFailureDomain(t *testing.T) {
	for _, spread := range []string{spreadEven, spreadStrictDomain} {
		t.Run(spread, func(t *testing.T) {
			w, all, links := racks(t, nil)
			_, stop := w.start()
			defer stop()
			asked := class + "spread: " + spread + "\n"
			w.request("m0", asked)
			if at := w.provisioned("m0").GetProvider(); at != "a1" {
				t.Fatalf("the first machine is on %s", at)
			}
			links["a1"].away.Store(true)
			w.request("m1", asked)
			w.provisioned("m1")
			if got := counts(all); got != "a1=1 a2=0 b1=1" {
				t.Errorf("the machines are on %s", got)
			}
			links["a1"].away.Store(false)
		})
	}
}

// If the only failure domain without a machine is unreachable, a strict spread waits for it, and the status names it.
func TestStrictDomainWaitsForUnreachableNAS(t *testing.T) {
	w, all, links := racks(t, nil)
	_, stop := w.start()
	defer stop()
	links["b1"].away.Store(true)
	strict := class + "spread: strict-domain\n"
	w.request("m0", strict)
	w.provisioned("m0")
	w.request("m1", strict)
	w.failed("m1", "b1 has none, and is away or refuses this machine")
	links["b1"].away.Store(false)
	w.provisioned("m1")
	if got := counts(all); got != "a1=1 a2=0 b1=1" {
		t.Errorf("the machines are on %s", got)
	}
}

// A machine with a backend keeps it when the adapter restarts with other failure domains, both before and after its creation.
func TestChangedFailureDomainsMoveNoMachine(t *testing.T) {
	w, all, _ := racks(t, nil)
	_, stop := w.start()
	strict := class + "spread: strict-domain\n"
	w.request("m0", strict)
	w.provisioned("m0")
	w.factory.SetDown(true)
	w.request("m1", strict)
	w.failed("m1", "creation of the schematic at the image factory failed")
	stop()
	if at := w.note("m1").TypedSpec().Value.GetProvider(); at != "b1" {
		t.Fatalf("before the restart the second machine has the backend %q", at)
	}
	w.factory.SetDown(false)
	for i, domain := range []string{"rackB", "", "rackB"} {
		w.cfg.Providers[i].FailureDomain = domain
	}
	_, stop = w.start()
	defer stop()
	w.provisioned("m1")
	w.request("m2", strict)
	w.provisioned("m2")
	if got := counts(all); got != "a1=1 a2=1 b1=1" {
		t.Errorf("the machines are on %s", got)
	}
	if at := w.note("m1").TypedSpec().Value.GetProvider(); at != "b1" {
		t.Errorf("the second machine moved to %q", at)
	}
}

func TestFailureDomainsAreChecked(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client, FailureDomain: "rack A"})
	if _, err := New(w.cfg); err == nil || !strings.Contains(err.Error(), `"rack A" is not a valid failure domain`) {
		t.Errorf("got %v", err)
	}
}
