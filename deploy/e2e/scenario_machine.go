package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// classAndImage is what most machines are made of.
func classAndImage(imageName string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMClass
metadata: {name: small}
spec:
  cpu: 1
  memory: 1Gi
  firmware: UEFI
  diskDefaults: {type: thin, size: 1Gi}
---
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMImage
metadata: {name: debian}
spec:
  source:
    libvirt:
      url: %s
      format: qcow2
      checksum: %s
      checksumType: sha256
`, imageURL(imageName), checksum(imageName))
}

// machine is a VirtualMachine of that class and image.
func machine(name, provider, more string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VirtualMachine
metadata: {name: %s}
spec:
  providerRef: {name: %s}
  classRef: {name: small}
  imageRef: {name: debian}
  powerState: "On"
  userData:
    cloudInit:
      inline: |
        #cloud-config
        hostname: %s
%s`, name, provider, name, more)
}

// ready says that a machine is as its spec wants it.
func ready(o *unstructured.Unstructured) bool {
	status, _ := condition(o, "Ready")
	return status == "True" && text(o, "status", "id") != ""
}

// power says that a machine is Ready and On or Off.
func power(want string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool { return ready(o) && text(o, "status", "powerState") == want }
}

// machineLife is a machine from its creation to its end.
func machineLife(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "machine", n); err != nil {
		return err
	}
	if err := s.apply(ctx, classAndImage("/machine.qcow2")+"---"+machine("web", "machine", "")); err != nil {
		return err
	}
	if err := s.wait(ctx, 2*time.Minute, "VirtualMachine", "web", "Ready and On", power("On")); err != nil {
		return err
	}
	s.note("VirtualMachine web is Ready and On")
	if err := s.delete(ctx, "VirtualMachine", "web"); err != nil {
		return err
	}
	if err := s.gone(ctx, 2*time.Minute, "VirtualMachine", "web"); err != nil {
		return err
	}
	return s.empty(ctx, n)
}
