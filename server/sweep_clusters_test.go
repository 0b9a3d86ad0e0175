package server_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
)

// The second cluster's provider has the same id. It has a separate dataset, or that of the first cluster by mistake.
const (
	secondDataset = "tank/second"
	secondVM      = "their-1"
)

func inSecondCluster(c *server.Config) {
	c.Instance, c.Installation = "second-1", server.Installation{ID: "second", Cluster: "second"}
}

func withSecondDataset(c *server.Config) { c.Dataset = secondDataset }

// bySecondCluster is the fault of a concurrent provider in a second cluster.
func bySecondCluster() fault {
	return fault{name: "a second cluster works in the middle", try: workInSecondCluster, refusal: true}
}

// workInSecondCluster makes a VM with the second cluster's provider when the n-th call arrives, and tries to delete and to make
// those of the first cluster. After the operation, its VM is unchanged, and can be deleted.
func workInSecondCluster(t *testing.T, p *point, n int) error {
	var made sim.State
	id := ""
	// The providers start at that moment, because their calls to the NAS count, too.
	err := among(func(t *testing.T, p *point) {
		id = makeInSecondCluster(t, p)
		made = ofSecondCluster(p.nas.State())
		if len(claimsOn(p.nas, "tank/virtrigaud")) > 0 { // Otherwise the provider that makes the first VM claims the dataset.
			changeFirstCluster(t, p)
		}
	}, func(*testing.T, *point) {})(t, p, n)
	if id == "" {
		return err // The operation was done with fewer calls.
	}
	if now := ofSecondCluster(p.nas.State()); !reflect.DeepEqual(now, made) {
		t.Errorf("an object of the second cluster changed:\n%s", changes(t, made, now))
	}
	second, stop := startProvider(t, p.address, append(slices.Clone(p.op.options), inSecondCluster, withSecondDataset)...)
	defer stop()
	if err := deleteVM(id)(t.Context(), second); err != nil {
		t.Errorf("the second cluster cannot delete its VM: %v", err)
	}
	return err
}

func makeInSecondCluster(t *testing.T, p *point) (id string) {
	second, stop := startProvider(t, p.address, append(slices.Clone(p.op.options), inSecondCluster, withSecondDataset)...)
	defer stop()
	req := wanted(secondVM)
	req.UserData = nil
	created, err := second.Create(t.Context(), req)
	if err != nil {
		t.Errorf("the second cluster cannot make a VM: %v", err)
	}
	return created.GetId()
}

// changeFirstCluster tries to change the dataset of the first cluster with the second cluster's provider.
func changeFirstCluster(t *testing.T, p *point) {
	intruder, stop := startProvider(t, p.address, append(slices.Clone(p.op.options), inSecondCluster)...)
	defer stop()
	for name, do := range map[string]request{"Delete": deleteVM(idOfWeb1), "Create": createWeb1, "Snapshot": snapshotWeb1} {
		if err := do(t.Context(), intruder); status.Code(err) != codes.FailedPrecondition || !strings.Contains(fmt.Sprint(err), "another installation") {
			t.Errorf("%s in the dataset of another cluster: %v", name, err)
		}
	}
}

// ofSecondCluster returns the objects of the second cluster on the NAS.
func ofSecondCluster(s sim.State) sim.State {
	theirs := func(name string) bool { return name == secondDataset || strings.HasPrefix(name, secondDataset+"/") }
	var of sim.State
	for _, d := range s.Datasets {
		if theirs(d.Name) {
			of.Datasets = append(of.Datasets, d)
		}
	}
	for _, n := range s.Snapshots {
		if theirs(n.ID) {
			of.Snapshots = append(of.Snapshots, n)
		}
	}
	for _, vm := range s.VMs {
		if vm.Name == strings.ReplaceAll(secondVM, "-", "_") {
			of.VMs = append(of.VMs, vm)
		}
	}
	return of
}
