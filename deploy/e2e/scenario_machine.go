package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// machineLife applies and deletes the shipped examples, with TLS between manager and provider, and replaces the certificates
// meanwhile.
func machineLife(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-machine", n); err != nil {
		return err
	}
	if err := s.examples(ctx, "truenas-machine", "vmclass", "vmimage", "vmnetworkattachment", "virtualmachine"); err != nil {
		return err
	}
	return errors.Join(steps(ctx, s, []step{
		{"made", func(ctx context.Context) error { return machineMade(ctx, s, n) }},
		{"networks", func(ctx context.Context) error { return machineNetworks(ctx, s, n) }},
		{"certificates change", func(ctx context.Context) error { return certificatesChange(ctx, s) }},
		{"power", func(ctx context.Context) error { return machinePower(ctx, s, n) }},
		{"size", func(ctx context.Context) error { return machineResized(ctx, s, n) }},
		{"snapshot and clone", func(ctx context.Context) error { return machineCopied(ctx, s, n) }},
		{"deleted", func(ctx context.Context) error { return allDeleted(ctx, s, n) }},
	}))
}

// step is a part of a scenario.
type step struct {
	name string
	do   func(context.Context) error
}

func steps(ctx context.Context, s *stage, all []step) error {
	for _, st := range all {
		if err := st.do(ctx); err != nil {
			return fmt.Errorf("%s: %v", st.name, err)
		}
	}
	return nil
}

// examples applies manifests of deploy/examples. It replaces the URL of images with a reachable one, and the provider of VMs with
// that of this stage.
func (s *stage) examples(ctx context.Context, provider string, files ...string) error {
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(s.w.s.deploy, "examples", file+".yaml"))
		if err != nil {
			return err
		}
		objects, err := documents(string(b))
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := s.reachable(o, provider); err != nil {
				return err
			}
			if err := applyObject(ctx, s.w.api, s.ns, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stage) reachable(o *unstructured.Unstructured, provider string) error {
	set := func(value any, path ...string) error { return unstructured.SetNestedField(o.Object, value, path...) }
	switch o.GetKind() {
	case "VirtualMachine":
		return set(provider, "spec", "providerRef", "name")
	case "VMImage":
		if url := text(o, "spec", "source", "libvirt", "url"); url != "" {
			name := "/" + s.name + "-" + o.GetName() + ".qcow2"
			return errors.Join(set(imageURL(name), "spec", "source", "libvirt", "url"), set("qcow2", "spec", "source", "libvirt", "format"),
				set(checksum(name), "spec", "source", "libvirt", "checksum"), set("sha256", "spec", "source", "libvirt", "checksumType"))
		}
	}
	return nil
}

// machineMade waits for the VM of the examples and checks it on the NAS.
func machineMade(ctx context.Context, s *stage, n *nas) error {
	if err := s.waitPower(ctx, "web", "On"); err != nil {
		return err
	}
	v, err := n.vm(ctx, "web")
	if err != nil {
		return err
	}
	o, err := s.get(ctx, "VirtualMachine", "web")
	if err != nil {
		return err
	}
	if v.UUID != text(o, "status", "id") || v.count() != 2 || v.Memory != 2048 || v.Status.State != "RUNNING" {
		return fmt.Errorf("on the NAS it is %+v", v)
	}
	kinds, err := n.devices(ctx, v.ID)
	if err != nil {
		return err
	}
	if got := strings.Join(kinds, " "); got != "CDROM DISK DISK DISPLAY NIC" && got != "CDROM DISK DISK NIC" {
		return fmt.Errorf("on the NAS it has %s", got)
	}
	s.note("the NAS has a VM of %d CPUs and %d MiB, with %s", v.count(), v.Memory, strings.Join(kinds, ", "))
	return nil
}

// certificatesChange replaces the certificate, and then the authority, while manager and provider run. The manager reads a new
// authority only after its connection fails, so each change restarts the provider.
func certificatesChange(ctx context.Context, s *stage) error {
	for _, what := range []string{"certificate", "authority"} {
		if what == "authority" {
			a, err := newAuthority()
			if err != nil {
				return err
			}
			s.authority = a
		}
		data, err := s.issue("truenas-machine")
		if err != nil {
			return err
		}
		secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "stringData": data}}
		secret.SetName("truenas-machine-tls")
		if err := applyObject(ctx, s.w.api, s.ns, secret); err != nil {
			return err
		}
		if err := s.settle(ctx, 2*time.Second); err != nil { // the node updates the files of the pod
			return err
		}
		if err := s.w.node.kill(s.ns, "truenas-machine"); err != nil {
			return err
		}
		want := "Off"
		if what == "authority" {
			want = "On"
		}
		if err := s.setPower(ctx, "web", want); err != nil {
			return err
		}
		s.note("a new %s is in use", what)
	}
	return nil
}

// machinePower switches the VM off, requests a shutdown, and switches it on.
func machinePower(ctx context.Context, s *stage, n *nas) error {
	if err := s.setPower(ctx, "web", "Off"); err != nil {
		return err
	}
	if err := s.setPower(ctx, "web", "On"); err != nil {
		return err
	}
	if err := s.patch(ctx, "VirtualMachine", "web", `{spec: {powerState: OffGraceful}}`); err != nil {
		return err
	}
	// VirtRigaud compares "Off" with "OffGraceful", so such a VM is never Ready.
	if err := s.wait(ctx, 2*time.Minute, "VirtualMachine", "web", "shut down", func(o *unstructured.Unstructured) bool {
		return text(o, "status", "powerState") == "Off" && text(o, "status", "lastTaskRef") == ""
	}); err != nil {
		return err
	}
	if v, err := n.vm(ctx, "web"); err != nil || v.Status.State != "STOPPED" {
		return fmt.Errorf("on the NAS it is %+v %v", v, err)
	}
	s.note("VirtualMachine web is OffGraceful")
	return s.setPower(ctx, "web", "On")
}

// machineResized changes the class. The provider refuses the change of a running VM with a message, and changes a VM that is off.
func machineResized(ctx context.Context, s *stage, n *nas) error {
	if err := s.patch(ctx, "VMClass", "small", `{spec: {cpu: 3, memory: 3Gi}}`); err != nil {
		return err
	}
	if err := s.wait(ctx, time.Minute, "VirtualMachine", "web", "refused a change while it runs", func(o *unstructured.Unstructured) bool {
		_, message := condition(o, "Reconfiguring")
		return strings.Contains(message, "Power it off")
	}); err != nil {
		return err
	}
	if err := s.patch(ctx, "VirtualMachine", "web", `{spec: {powerState: "Off"}}`); err != nil {
		return err
	}
	if err := poll(ctx, time.Minute, "the VM has 3 CPUs and 3 GiB", func() (bool, string) {
		v, err := n.vm(ctx, "web")
		return err == nil && v.count() == 3 && v.Memory == 3072, fmt.Sprintf("%+v %v", v, err)
	}); err != nil {
		return err
	}
	s.note("VirtualMachine web has 3 CPUs and 3 GiB")
	return s.setPower(ctx, "web", "On")
}

// machineCopied makes the snapshot and the linked clone of the examples, and a full clone.
func machineCopied(ctx context.Context, s *stage, n *nas) error {
	if err := s.examples(ctx, "truenas-machine", "later/vmsnapshot", "later/vmclone"); err != nil {
		return err
	}
	if err := s.wait(ctx, 2*time.Minute, "VMSnapshot", "web-before-upgrade", "Ready", phase("Ready")); err != nil {
		return err
	}
	s.note("VMSnapshot web-before-upgrade is Ready")
	if err := s.apply(ctx, clone("web-full", "web", "FullClone")); err != nil {
		return err
	}
	for _, c := range []string{"web-2", "web-full"} {
		if err := s.wait(ctx, 3*time.Minute, "VMClone", c, "Ready", phase("Ready")); err != nil {
			return err
		}
		if err := s.wait(ctx, 2*time.Minute, "VirtualMachine", c, "Ready", ready); err != nil {
			return err
		}
		s.note("VMClone %s is Ready, and so is its VirtualMachine", c)
	}
	vms, err := n.vms(ctx)
	if err != nil || len(vms) != 3 {
		return fmt.Errorf("the NAS has %d VMs: %v %v", len(vms), vms, err)
	}
	return nil
}

// allDeleted deletes all objects, sources before clones, and checks for leftovers.
func allDeleted(ctx context.Context, s *stage, n *nas) error {
	for _, kind := range []string{"VMClone", "VMSnapshot", "VirtualMachine"} {
		if err := s.deleteAll(ctx, kind); err != nil {
			return err
		}
	}
	return s.empty(ctx, n)
}
