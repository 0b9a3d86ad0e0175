package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// adoption adopts a manually created VM as a VirtualMachine and switches it. The VM must outlive the object, because a provider
// deletes no VM that it did not create.
func adoption(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "26")
	if err != nil {
		return err
	}
	if err := s.byHand(ctx, n); err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-adopt", n); err != nil {
		return err
	}
	if err := s.adopt(ctx, "truenas-adopt", "handmade"); err != nil {
		return err
	}
	for _, want := range []string{"On", "Off"} {
		if err := s.setPower(ctx, "handmade", want); err != nil {
			return err
		}
	}
	if err := s.delete(ctx, "VirtualMachine", "handmade"); err != nil {
		return err
	}
	if err := s.settle(ctx, 5*time.Second); err != nil {
		return err
	}
	o, err := s.get(ctx, "VirtualMachine", "handmade")
	if err != nil || o.GetDeletionTimestamp() == nil {
		return fmt.Errorf("the VirtualMachine went although its VM is protected: %v", err)
	}
	if err := s.patch(ctx, "VirtualMachine", "handmade", `{metadata: {annotations: {virtrigaud.io/force-delete: "true"}}}`); err != nil {
		return err
	}
	if err := s.gone(ctx, time.Minute, "VirtualMachine", "handmade"); err != nil {
		return err
	}
	if _, err := n.vm(ctx, "handmade"); err != nil {
		return err
	}
	s.note("the VirtualMachine is gone, and the VM stays on the NAS")
	return nil
}

// adopt makes the manager adopt the VMs of a NAS and waits for one of them. The manager may overwrite the id that it has just
// found. It searches again when the annotation is set again, 5 minutes after the time in its status.
func (s *stage) adopt(ctx context.Context, provider, name string) (err error) {
	for range 12 {
		if err := s.patch(ctx, "Provider", provider, `{metadata: {annotations: {virtrigaud.io/adopt-vms: "true"}}}`); err != nil {
			return err
		}
		if err = s.wait(ctx, 30*time.Second, "VirtualMachine", name, "adopted", ready); err == nil {
			s.note("the VM %s has become a VirtualMachine", name)
			return nil
		}
		s.note("the VM %s is not adopted yet", name)
		if err := s.unadopt(ctx, provider); err != nil {
			return err
		}
	}
	return err
}

// unadopt removes the annotation, and the manager's record of it.
func (s *stage) unadopt(ctx context.Context, provider string) error {
	if err := s.patch(ctx, "Provider", provider, `{metadata: {annotations: {virtrigaud.io/adopt-vms: null}}}`); err != nil {
		return err
	}
	return s.patchStatus(ctx, "Provider", provider, `{status: {adoption: null}}`)
}

// byHand creates a VM as a user does in the web interface.
func (s *stage) byHand(ctx context.Context, n *nas) error {
	if err := n.call(ctx, nil, "pool.dataset.create", map[string]any{"name": "tank/handmade", "type": "VOLUME", "volsize": 1 << 30, "sparse": true}); err != nil {
		return err
	}
	var made vm
	if err := n.call(ctx, &made, "vm.create", map[string]any{"name": "handmade", "vcpus": 1, "cores": 2, "threads": 1, "memory": 1024, "bootloader": "UEFI"}); err != nil {
		return err
	}
	return n.call(ctx, nil, "vm.device.create", map[string]any{"vm": made.ID, "attributes": map[string]any{"dtype": "DISK", "path": "/dev/zvol/tank/handmade", "type": "VIRTIO"}})
}

// sameNames has a VM and an image with equal names in two namespaces, each with a provider of its own, on one NAS. Names of VMs
// are unique on a NAS, so the second VM reports that its name is taken, and is created when the name is free.
func sameNames(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	other := &stage{w: s.w, name: s.name, ns: s.ns + "-other"}
	if err := other.begin(ctx); err != nil {
		return err
	}
	defer other.end(context.WithoutCancel(ctx))
	for i, st := range []*stage{s, other} {
		provider := fmt.Sprintf("truenas-names-%d", i)
		if err := st.provider(ctx, provider, n); err != nil {
			return err
		}
		file := fmt.Sprintf("/%s.qcow2", st.ns)
		if err := st.apply(ctx, class+vmImage("image", imageURL(file), checksum(file))+machine("web", provider, "image")); err != nil {
			return err
		}
		if i == 0 {
			err = st.waitPower(ctx, "web", "On")
		} else {
			err = st.wait(ctx, time.Minute, "VirtualMachine", "web", "reports that its name is taken", func(o *unstructured.Unstructured) bool {
				_, message := condition(o, "Provisioning")
				return strings.Contains(message, "exists")
			})
		}
		if err != nil {
			return err
		}
	}
	if v, err := n.vm(ctx, "web"); err != nil || v.Status.State != "RUNNING" {
		return fmt.Errorf("on the NAS it is %+v %v", v, err)
	}
	s.note("the second VM web reports that its name is taken; the first runs")
	if err := s.deleteAll(ctx, "VirtualMachine"); err != nil {
		return err
	}
	if err := other.waitPower(ctx, "web", "On"); err != nil {
		return err
	}
	return allDeleted(ctx, other, n)
}

// fifty creates many VMs at once.
func fifty(ctx context.Context, s *stage) error {
	const many = 50
	n, err := s.newNAS(ctx, "27")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-fifty", n); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(class + goodImage("fifty"))
	for i := range many {
		b.WriteString(machine(fmt.Sprintf("vm-%02d", i), "truenas-fifty", "fifty"))
	}
	if err := s.apply(ctx, b.String()); err != nil {
		return err
	}
	began := time.Now()
	if err := s.all(ctx, 8*time.Minute, many, powered("On")); err != nil {
		return err
	}
	s.note("%d VirtualMachines are Ready and On, after %s", many, time.Since(began).Round(time.Second))
	vms, err := n.vms(ctx)
	if err != nil || len(vms) != many {
		return fmt.Errorf("the NAS has %d VMs: %v", len(vms), err)
	}
	return allDeleted(ctx, s, n)
}

// all waits until the given number of VMs exists and all of them are good.
func (s *stage) all(ctx context.Context, limit time.Duration, many int, good func(*unstructured.Unstructured) bool) error {
	return poll(ctx, limit, "all VirtualMachines are as they should be", func() (bool, string) {
		machines, err := list(ctx, s.w.api, s.ns, "VirtualMachine")
		if err != nil {
			return false, err.Error()
		}
		count, last := 0, ""
		for i := range machines {
			if good(&machines[i]) {
				count++
			} else {
				last = machines[i].GetName() + ": " + state(&machines[i])
			}
		}
		return count == many, fmt.Sprintf("%d of %d; %s", count, many, last)
	})
}
