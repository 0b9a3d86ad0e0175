package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kills kills the provider's process repeatedly, at intervals that hit different phases of its work.
func (s *stage) kills(ctx context.Context, provider string, times int) error {
	for i := range times {
		if err := s.settle(ctx, time.Duration(300+i*700)*time.Millisecond); err != nil {
			return err
		}
		if err := s.w.node.kill(s.ns, provider); err != nil {
			return err
		}
		s.note("the provider is killed")
	}
	return nil
}

// killed kills the provider during an import, during the creation of VMs, and during clones.
func killed(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-killed", n); err != nil {
		return err
	}
	// The import takes 8 seconds. The URL must not have a query: a query may contain a secret and is not stored on the NAS, so no
	// provider resumes such an import.
	slow := vmImage("slow", imageURL("/slow.qcow2"), checksum("/slow.qcow2"))
	if err := s.apply(ctx, class+slow+machine("from-slow", "truenas-killed", "slow")); err != nil {
		return err
	}
	if err := s.kills(ctx, "truenas-killed", 3); err != nil {
		return err
	}
	if err := s.waitPower(ctx, "from-slow", "On"); err != nil {
		return err
	}
	var b strings.Builder
	for i := range 5 {
		b.WriteString(machine(fmt.Sprintf("vm-%d", i), "truenas-killed", "slow"))
	}
	if err := s.apply(ctx, b.String()); err != nil {
		return err
	}
	if err := s.kills(ctx, "truenas-killed", 4); err != nil {
		return err
	}
	if err := s.all(ctx, 5*time.Minute, 6, powered("On")); err != nil {
		return err
	}
	s.note("all VirtualMachines are Ready and On")
	if err := s.apply(ctx, clone("linked", "vm-0", "LinkedClone")+clone("full", "vm-1", "FullClone")); err != nil {
		return err
	}
	if err := s.kills(ctx, "truenas-killed", 3); err != nil {
		return err
	}
	for c, again := range map[string]string{"linked": clone("linked", "vm-0", "LinkedClone"), "full": clone("full", "vm-1", "FullClone")} {
		if err := s.cloned(ctx, c, again); err != nil {
			return err
		}
		if err := s.wait(ctx, 5*time.Minute, "VirtualMachine", c, "Ready", ready); err != nil {
			return err
		}
	}
	if vms, err := n.vms(ctx); err != nil || len(vms) != 8 {
		return fmt.Errorf("the NAS has %d VMs: %v %v", len(vms), vms, err)
	}
	s.note("both clones are Ready")
	return allDeleted(ctx, s, n)
}

// cloned waits for a VMClone. The manager gives up a clone permanently when its provider is killed during a call. As a user must,
// cloned then recreates the object, and the clone continues.
func (s *stage) cloned(ctx context.Context, name, again string) error {
	for range 3 {
		failed := false
		if err := s.wait(ctx, 5*time.Minute, "VMClone", name, "Ready", func(o *unstructured.Unstructured) bool {
			failed = phase("Failed")(o)
			return failed || phase("Ready")(o)
		}); err != nil || !failed {
			return err
		}
		o, err := s.get(ctx, "VMClone", name)
		if err != nil {
			return err
		}
		s.note("VMClone %s has failed (%s), and is made again", name, text(o, "status", "message"))
		if err := s.delete(ctx, "VMClone", name); err != nil {
			return err
		}
		if err := s.gone(ctx, time.Minute, "VMClone", name); err != nil {
			return err
		}
		if err := s.apply(ctx, again); err != nil {
			return err
		}
	}
	return fmt.Errorf("VMClone %s has failed three times", name)
}

// killedMigration kills both providers during a migration.
func killedMigration(ctx context.Context, s *stage) error {
	from, to, err := s.twoProviders(ctx)
	if err != nil {
		return err
	}
	ask := func() error { return s.apply(ctx, secretS3+migration("moved", "web", to, storeS3)) }
	if err := ask(); err != nil {
		return err
	}
	for provider, phases := range map[string]string{from: "Snapshotting Exporting", to: "Importing Creating"} {
		go s.killDuring(ctx, provider, strings.Fields(phases))
	}
	return s.migrated(ctx, ask)
}

// killDuring kills a provider when a migration reaches a phase.
func (s *stage) killDuring(ctx context.Context, provider string, phases []string) {
	for _, p := range phases {
		if err := s.wait(ctx, migrationTime, "VMMigration", "moved", p, phase(p)); err != nil {
			return // the migration ended earlier; its result is checked elsewhere
		}
		if err := s.w.node.kill(s.ns, provider); err == nil {
			s.note("%s is killed while the migration is %s", provider, p)
		}
	}
}

// away makes the NAS unreachable for 90 seconds while VMs are created, switched and deleted. It deletes many VMs: if each call
// reported a failure, the manager's circuit breaker would open, and the manager would drop VMs without deleting them.
func away(ctx context.Context, s *stage) error {
	const many = 12
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-away", n); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(class + goodImage("away") + machine("stays", "truenas-away", "away"))
	for i := range many {
		b.WriteString(machine(fmt.Sprintf("goes-%02d", i), "truenas-away", "away"))
	}
	if err := s.apply(ctx, b.String()); err != nil {
		return err
	}
	if err := s.all(ctx, 5*time.Minute, many+1, powered("On")); err != nil {
		return err
	}
	s.note("%d VirtualMachines are Ready and On; the NAS goes away", many+1)
	n.link.cut()
	gone := time.Now()
	if err := s.patch(ctx, "VirtualMachine", "stays", `{spec: {powerState: "Off"}}`); err != nil {
		return err
	}
	if err := s.apply(ctx, machine("comes", "truenas-away", "away")); err != nil {
		return err
	}
	for i := range many {
		if err := s.delete(ctx, "VirtualMachine", fmt.Sprintf("goes-%02d", i)); err != nil {
			return err
		}
	}
	if err := s.settle(ctx, 90*time.Second-time.Since(gone)); err != nil {
		return err
	}
	left, err := list(ctx, s.w.api, s.ns, "VirtualMachine")
	if err != nil {
		return err
	}
	if len(left) != many+2 {
		return fmt.Errorf("while the NAS was away %d of %d VirtualMachines went, and their VMs did not", many+2-len(left), many)
	}
	if err := n.link.open(); err != nil {
		return err
	}
	s.note("the NAS is back after 90s, and no object has gone")
	for i := range many {
		if err := s.gone(ctx, 4*time.Minute, "VirtualMachine", fmt.Sprintf("goes-%02d", i)); err != nil {
			return err
		}
	}
	if err := s.waitPower(ctx, "stays", "Off"); err != nil {
		return err
	}
	if err := s.waitPower(ctx, "comes", "On"); err != nil {
		return err
	}
	if vms, err := n.vms(ctx); err != nil || len(vms) != 2 {
		return fmt.Errorf("the NAS has %d VMs: %v %v", len(vms), vms, err)
	}
	s.note("the NAS has the two VMs that it should have, no more")
	return allDeleted(ctx, s, n)
}

// orphan deletes a VM while its provider does not run. The manager drops it, which no provider can prevent. Adoption restores the
// object, which then can be deleted as usual.
func orphan(ctx context.Context, s *stage) error {
	const provider = "truenas-orphan"
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, provider, n); err != nil {
		return err
	}
	if err := s.apply(ctx, class+goodImage("orphan")+machine("web", provider, "orphan")); err != nil {
		return err
	}
	if err := s.waitPower(ctx, "web", "On"); err != nil {
		return err
	}
	if err := s.w.node.hold(s.ns, provider); err != nil {
		return err
	}
	if err := s.deleteAll(ctx, "VirtualMachine"); err != nil {
		return err
	}
	v, err := n.vm(ctx, "web")
	if err != nil {
		return err
	}
	s.note("the provider is down, the object is gone, and the VM is %s", v.Status.State)
	if err := s.w.node.release(s.ns, provider); err != nil {
		return err
	}
	if err := s.adopt(ctx, provider, "web"); err != nil {
		return err
	}
	return allDeleted(ctx, s, n)
}
