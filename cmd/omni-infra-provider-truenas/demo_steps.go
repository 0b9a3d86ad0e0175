package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// demoRequests are ids in the form that Omni gives machines of a set.
var demoRequests = []string{"talos-workers-7k2m4p", "talos-workers-b9x3qd", "talos-workers-z5w8rt"}

func demoSteps() []step {
	return []step{
		{"The provider registers with Omni", registered},
		{"Omni requests three machines; the provider creates and starts them", provisioned},
		{"The image was fetched once, and every disk is a clone of it", cloned},
		{"Each machine has the UUID that Omni shows", sameUUIDs},
		{"Each seed on the NAS holds the join configuration, byte for byte", seeded},
		{"A request that cannot work is refused with the reason", refusedRequest},
		{"A machine that a user powered off is started again", startedAgain},
		{"The machines are released, and nothing of them is left", released},
	}
}

// must returns an error unless the condition holds.
func must(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func registered(ctx context.Context, t *tour) (string, error) {
	_, err := t.omni.WatchFor(ctx, infrares.NewProviderHealthStatus(demoID).Metadata(), state.WithCondition(func(r resource) (bool, error) {
		health, ok := r.(*infrares.ProviderHealthStatus)
		return ok && health.TypedSpec().Value.GetLastHeartbeatTimestamp() != nil && health.TypedSpec().Value.GetError() == "", nil
	}))
	if err != nil {
		return "", fmt.Errorf("the provider is not healthy in Omni: %w", err)
	}
	status, err := safe.ReaderGetByID[*infrares.ProviderStatus](ctx, t.omni, demoID)
	if err != nil {
		return "", err
	}
	spec := status.TypedSpec().Value
	return fmt.Sprintf("Omni shows %q, healthy, with a machine class form of %d bytes.", spec.GetName(), len(spec.GetSchema())), nil
}

func provisioned(ctx context.Context, t *tour) (string, error) {
	t.factory.HoldAt(4 << 20) // Stop in the middle of the image until Omni shows the progress.
	err := t.follow(ctx, demoRequests, func(id string) error {
		return standin.Request(ctx, t.omni, demoID, id, "talos-workers", demoTalos, demoClass)
	})
	if err != nil {
		return "", err
	}
	running := 0
	for _, vm := range t.nas.VMs() {
		if vm.State == "RUNNING" {
			running++
		}
	}
	if err := must(t.percent != "", "Omni's status never showed the progress of the image"); err != nil {
		return "", err
	}
	return fmt.Sprintf("The NAS has %d running VMs.", running), must(running == len(demoRequests), "%d VMs run", running)
}

func cloned(_ context.Context, t *tour) (string, error) {
	origins := map[string]int{}
	for _, d := range t.nas.State().Datasets {
		if strings.HasSuffix(d.Name, "/root") {
			origins[d.Origin]++
		}
	}
	fetched := t.factory.Fetched()
	if err := must(len(fetched) == 1 && len(origins) == 1, "fetched %v; the disks are clones of %v", fetched, origins); err != nil {
		return "", err
	}
	for origin, clones := range origins {
		return fmt.Sprintf("%d clones of %s, from %s", clones, origin, fetched[0]), must(clones == len(demoRequests), "%d clones", clones)
	}
	return "", nil
}

func sameUUIDs(ctx context.Context, t *tour) (string, error) {
	var uuids []string
	for _, id := range demoRequests {
		uuid, err := t.machineUUID(ctx, id)
		if err != nil {
			return "", err
		}
		if _, err := t.vm(uuid); err != nil {
			return "", fmt.Errorf("request %s: %w", id, err)
		}
		uuids = append(uuids, uuid)
	}
	slices.Sort(uuids)
	return strings.Join(uuids, ", "), must(len(slices.Compact(uuids)) == len(demoRequests), "Omni shows %v", uuids)
}

func seeded(ctx context.Context, t *tour) (string, error) {
	size := 0
	for _, id := range demoRequests {
		want, err := t.joinConfig(ctx, id)
		if err != nil {
			return "", err
		}
		uuid, err := t.machineUUID(ctx, id)
		if err != nil {
			return "", err
		}
		files, err := t.seed(uuid)
		if err != nil {
			return "", fmt.Errorf("request %s: %w", id, err)
		}
		if err := must(files["user-data"] == want, "request %s: the seed's user-data is\n%s\nand not\n%s", id, files["user-data"], want); err != nil {
			return "", err
		}
		size += len(want)
	}
	return fmt.Sprintf("%d bytes compared in %d seeds; each holds its own machine's token.", size, len(demoRequests)), nil
}

func refusedRequest(ctx context.Context, t *tour) (string, error) {
	const id = "talos-workers-wrong1"
	if err := standin.Request(ctx, t.omni, demoID, id, "talos-workers", demoTalos, strings.Replace(demoClass, "memory: 4096", "memroy: 4096", 1)); err != nil {
		return "", err
	}
	var said string
	_, err := t.omni.WatchFor(ctx, infrares.NewMachineRequestStatus(id).Metadata(), state.WithCondition(func(r resource) (bool, error) {
		status, ok := r.(*infrares.MachineRequestStatus)
		if ok {
			said = status.TypedSpec().Value.GetError()
		}
		return ok && status.TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_FAILED, nil
	}))
	if err != nil {
		return "", err
	}
	return "Omni shows: " + said, standin.Release(ctx, t.omni, id)
}

func startedAgain(ctx context.Context, t *tour) (string, error) {
	uuid, err := t.machineUUID(ctx, demoRequests[0])
	if err != nil {
		return "", err
	}
	vm, err := t.vm(uuid)
	if err != nil {
		return "", err
	}
	t.nas.PowerOffGuest(vm.Name)
	err = until(ctx, func() bool {
		vm, err := t.vm(uuid)
		return err == nil && vm.State == "RUNNING"
	})
	return "VM " + vm.Name + " runs again.", err
}

func released(ctx context.Context, t *tour) (string, error) {
	for _, id := range demoRequests {
		if err := standin.Release(ctx, t.omni, id); err != nil {
			return "", err
		}
		t.say("   %s is released\n", id)
	}
	var left, images []string
	for _, vm := range t.nas.VMs() {
		left = append(left, vm.Name)
	}
	for _, d := range t.nas.State().Datasets {
		switch {
		case strings.HasPrefix(d.Name, "tank/virtrigaud/vms/"):
			left = append(left, d.Name)
		case isImage(d):
			images = append(images, d.Name)
		}
	}
	return fmt.Sprintf("No VM and no dataset of one is left; the image stays for the next machines: %s", strings.Join(images, ", ")),
		must(len(left) == 0 && len(images) == 1, "left are %v and the images %v", left, images)
}

func isImage(d sim.DatasetState) bool {
	return strings.HasPrefix(d.Name, "tank/virtrigaud/images/") && d.Volume
}
