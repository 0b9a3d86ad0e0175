package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// class is a VMClass of one CPU and 1 GiB.
const class = `
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMClass
metadata: {name: small}
spec:
  cpu: 1
  memory: 1Gi
  firmware: UEFI
  diskDefaults: {type: thin, size: 1Gi}
---`

// vmImage returns a VMImage with a URL.
func vmImage(name, url, sum string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMImage
metadata: {name: %s}
spec:
  source:
    libvirt: {url: %q, format: qcow2, checksum: %q, checksumType: sha256}
---`, name, url, sum)
}

// goodImage returns a VMImage with a reachable URL and the right checksum.
func goodImage(name string) string {
	return vmImage(name, imageURL("/"+name+".qcow2"), checksum("/"+name+".qcow2"))
}

// machine returns a VirtualMachine of the class above, with a seed.
func machine(name, provider, image string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VirtualMachine
metadata: {name: %[1]s}
spec:
  providerRef: {name: %[2]s}
  classRef: {name: small}
  imageRef: {name: %[3]s}
  powerState: "On"
  userData:
    cloudInit:
      inline: |
        #cloud-config
        hostname: %[1]s
---`, name, provider, image)
}

// clone returns a VMClone.
func clone(name, source, kind string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMClone
metadata: {name: %[1]s}
spec:
  source: {vmRef: {name: %[2]s}}
  target: {name: %[1]s, classRef: {name: small}}
  options: {type: %[3]s}
---`, name, source, kind)
}

// ready reports whether a machine matches its spec.
func ready(o *unstructured.Unstructured) bool {
	status, _ := condition(o, "Ready")
	return status == "True" && text(o, "status", "id") != "" && text(o, "status", "lastTaskRef") == ""
}

// powered reports whether a machine is Ready and On or Off.
func powered(want string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool { return ready(o) && text(o, "status", "powerState") == want }
}

// phase reports whether an object has reached a phase.
func phase(want string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool { return text(o, "status", "phase") == want }
}

// waitPower waits until a machine is Ready and On or Off.
func (s *stage) waitPower(ctx context.Context, name, want string) error {
	began := time.Now()
	if err := s.wait(ctx, 4*time.Minute, "VirtualMachine", name, "Ready and "+want, powered(want)); err != nil {
		return err
	}
	s.note("VirtualMachine %s is Ready and %s, after %s", name, want, time.Since(began).Round(time.Second))
	return nil
}

// setPower changes the power state in the spec and waits for it.
func (s *stage) setPower(ctx context.Context, name, want string) error {
	if err := s.patch(ctx, "VirtualMachine", name, fmt.Sprintf(`{spec: {powerState: %q}}`, want)); err != nil {
		return err
	}
	return s.waitPower(ctx, name, want)
}

// settle waits for a while.
func (s *stage) settle(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// deleteAll deletes all objects of a kind and waits until they are gone.
func (s *stage) deleteAll(ctx context.Context, kind string) error {
	all, err := list(ctx, s.w.api, s.ns, kind)
	if err != nil {
		return err
	}
	for _, o := range all {
		if err := s.delete(ctx, kind, o.GetName()); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, o := range all {
		if err := s.gone(ctx, 5*time.Minute, kind, o.GetName()); err != nil {
			return err
		}
	}
	if len(all) > 0 {
		s.note("%d %s deleted, after %s", len(all), kind, time.Since(began).Round(time.Second))
	}
	return nil
}
