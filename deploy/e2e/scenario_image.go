package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// badImages uses images that cannot be imported. The condition of the VM reports why, and the NAS has no objects of it. After the
// image is corrected, the VM is created.
func badImages(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.04.2")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-image", n, plaintext); err != nil {
		return err
	}
	wrong := strings.Repeat("0", 64)
	for _, tt := range []struct{ name, url, sum, says string }{
		{"wrong-sum", imageURL("/wrong-sum.qcow2"), wrong, "sha256"},
		{"not-there", imageURL("/missing.qcow2"), checksum("/missing.qcow2"), "404"},
		{"unreachable", "http://" + network + "254:1/x.qcow2", checksum("/x.qcow2"), "refused"},
	} {
		if err := s.apply(ctx, class+vmImage(tt.name, tt.url, tt.sum)+machine("vm-"+tt.name, "truenas-image", tt.name)); err != nil {
			return err
		}
		if err := s.wait(ctx, 2*time.Minute, "VirtualMachine", "vm-"+tt.name, "reports "+tt.says, func(o *unstructured.Unstructured) bool {
			_, ready := condition(o, "Ready")
			_, provisioning := condition(o, "Provisioning")
			return strings.Contains(ready+provisioning, tt.says)
		}); err != nil {
			return err
		}
		o, err := s.get(ctx, "VirtualMachine", "vm-"+tt.name)
		if err != nil {
			return err
		}
		s.note("%s: %s", tt.name, state(o))
	}
	if vms, err := n.vms(ctx); err != nil || len(vms) != 0 {
		return fmt.Errorf("the NAS has VMs %v %v", vms, err)
	}
	for _, name := range []string{"wrong-sum", "not-there", "unreachable"} {
		if name == "wrong-sum" {
			// VirtRigaud marks an image as prepared when its task has ended, even in failure, and never reads its spec again.
			if err := s.delete(ctx, "VMImage", name); err != nil {
				return err
			}
		}
		good := "/fixed-" + name + ".qcow2"
		if err := s.apply(ctx, vmImage(name, imageURL(good), checksum(good))); err != nil {
			return err
		}
		if err := s.waitPower(ctx, "vm-"+name, "On"); err != nil {
			return fmt.Errorf("after the fix of the VMImage: %w", err)
		}
	}
	return allDeleted(ctx, s, n)
}
