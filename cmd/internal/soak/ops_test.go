package soak

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// draw chooses the properties of a new VM.
func (k *worker) draw(m *machine) {
	name := m.name
	*m = machine{
		name: name, cpus: 1 + k.random.IntN(4), memory: 256 << k.random.IntN(3), nics: k.random.IntN(3), seed: k.random.IntN(2) == 0,
		root: disk{name: rootName}, source: []string{blank, template, prepared}[k.random.IntN(3)],
	}
	if k.random.IntN(2) == 0 {
		m.owner = fmt.Sprintf("%s-uid-%d", name, k.random.IntN(1<<30))
	}
	if m.source == blank || k.random.IntN(3) == 0 {
		m.root.gib = 1 + k.random.IntN(2)
	}
	for i := range k.random.IntN(3) {
		m.extras = append(m.extras, disk{name: fmt.Sprintf("data-%d", i), gib: 1 + k.random.IntN(2)})
	}
}

func (k *worker) create(m *machine) {
	k.draw(m)
	image := ""
	switch m.source {
	case template:
		image, m.held = "tank/templates/gold@v1", heldByTemplate
	case prepared:
		image, m.held = k.image(k.random.IntN(3), m.line04()), heldByImage
	}
	k.made(m, image)
}

// made calls Create until the VM exists, like the manager: it waits for a task, and then calls Create again.
func (k *worker) made(m *machine, image string) {
	id := ""
	ok := k.do("Create of "+m.String(), codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		for {
			resp, err := client.Create(ctx, m.create(image))
			if err != nil {
				return err
			}
			if err := k.same(&id, resp.GetId()); err != nil || resp.GetTask() == nil {
				return err
			}
			if err := waitFor(ctx, client, resp.GetTask()); err != nil {
				return err
			}
		}
	})
	if !ok {
		return
	}
	m.id = id
	k.w.addExisting(id)
	k.check(m)
}

// same checks that a response equals the previous one.
func (k *worker) same(have *string, got string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case got == "":
		return errEmptyID
	case *have == "":
		*have = got
	case *have != got:
		return fmt.Errorf("the id was %s and is %s: %w", *have, got, errOtherID)
	}
	return nil
}

// waitFor polls a task.
func waitFor(ctx context.Context, client providerv1.ProviderClient, task *providerv1.TaskRef) error {
	for task.GetId() != "" {
		status, err := client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		switch {
		case err != nil:
			return err
		case status.GetError() != "":
			return fmt.Errorf("task %s: %s: %w", task.GetId(), status.GetError(), errTask)
		case status.GetDone():
			return nil
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return errSlowTask
		}
	}
	return nil
}

func (k *worker) createAgain(m *machine) {
	if k.random.IntN(3) == 0 { // A request of another owner with the same name.
		other := machine{name: m.name, cpus: 1, memory: 256, root: disk{name: rootName, gib: 4}}
		other.owner = fmt.Sprintf("%s-other-%d", m.name, k.random.IntN(1<<30))
		k.do("Create with another owner of "+m.name, codes.AlreadyExists, func(ctx context.Context, client providerv1.ProviderClient) error {
			_, err := client.Create(ctx, other.create(""))
			return err
		})
		return
	}
	if m.source == prepared || m.source == cloned {
		return // Its image is not recorded, or it is a clone.
	}
	image := map[string]string{template: "tank/templates/gold@v1", imported: root + "/imports/" + onNAS(m.name) + "/disk"}[m.source]
	id := m.id
	k.do("Create again of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Create(ctx, m.create(image))
		if err != nil {
			return err
		}
		return k.same(&id, resp.GetId())
	})
	k.check(m)
}

func (k *worker) remove(m *machine) {
	k.refuseDelete(m)
	k.w.removeExisting(m.id)
	if !k.do("Delete of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: m.id})
		return err
	}) {
		return
	}
	id := m.id
	*m = machine{name: m.name}
	k.gone(m, id)
}

// absent calls operations on a VM that does not exist.
func (k *worker) absent(m *machine) {
	const absent = "5d2d3d3e-4a3c-4b39-9b7b-5f2a5c3f0a11"
	k.do("Describe of an absent VM", codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: absent})
		if err == nil && resp.GetExists() {
			return errStillExists
		}
		return err
	})
	k.do("Delete of an absent VM", codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: absent})
		return err
	})
	k.do("Power on of an absent VM", codes.NotFound, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Power(ctx, &providerv1.PowerRequest{Id: absent, Op: providerv1.PowerOp_POWER_OP_ON})
		return err
	})
	_ = m
}

// changeForeignVM tries operations on objects of other owners.
func (k *worker) changeForeignVM(*machine) {
	mine, theirs := k.processes[0].id, "west"
	if mine == theirs {
		theirs = "east"
	}
	for _, name := range []string{anchor + theirs, "db"} {
		m := machine{name: name, cpus: 1, memory: 256, root: disk{name: rootName, gib: 1}, source: blank}
		k.do("Create in the name of "+name, codes.AlreadyExists, func(ctx context.Context, client providerv1.ProviderClient) error {
			_, err := client.Create(ctx, m.create(""))
			return err
		})
		k.do("Delete of another owner's VM of "+name, codes.FailedPrecondition, func(ctx context.Context, client providerv1.ProviderClient) error {
			id, err := idOf(ctx, client, name)
			if err == nil {
				_, err = client.Delete(ctx, &providerv1.DeleteRequest{Id: id})
			}
			return err
		})
	}
}

func idOf(ctx context.Context, client providerv1.ProviderClient, name string) (string, error) {
	list, err := client.ListVMs(ctx, &providerv1.ListVMsRequest{})
	for _, vm := range list.GetVms() {
		if vm.GetName() == name {
			return vm.GetId(), nil
		}
	}
	if err == nil {
		err = errNotListed
	}
	return "", err
}
