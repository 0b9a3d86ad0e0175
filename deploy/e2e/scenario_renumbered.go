package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// renumbered restarts the NAS with other ids for its VMs, as after a restored configuration.
func renumbered(ctx context.Context, s *stage) error {
	n, err := s.newNAS(ctx, "25.10")
	if err != nil {
		return err
	}
	if err := s.provider(ctx, "truenas-renumbered", n); err != nil {
		return err
	}
	if err := s.apply(ctx, class+goodImage("renumbered")+machine("one", "truenas-renumbered", "renumbered")+machine("two", "truenas-renumbered", "renumbered")); err != nil {
		return err
	}
	if err := s.all(ctx, 4*time.Minute, 2, powered("On")); err != nil {
		return err
	}
	before, err := n.vm(ctx, "one")
	if err != nil {
		return err
	}
	n.link.cut()
	n.stop()
	if err := n.renumber(); err != nil {
		return err
	}
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := n.link.open(); err != nil {
		return err
	}
	after, err := n.vm(ctx, "one")
	if err != nil || after.ID == before.ID {
		return fmt.Errorf("the VM has the number %d, as before: %v", after.ID, err)
	}
	s.note("the NAS is back, and VM one has number %d instead of %d", after.ID, before.ID)
	for _, name := range []string{"one", "two"} {
		if err := s.setPower(ctx, name, "Off"); err != nil {
			return err
		}
	}
	if err := s.wait(ctx, time.Minute, "VirtualMachine", "one", "the same", func(o *unstructured.Unstructured) bool { return text(o, "status", "id") == before.UUID }); err != nil {
		return err
	}
	if vms, err := n.vms(ctx); err != nil || len(vms) != 2 {
		return fmt.Errorf("the NAS has %d VMs: %v %v", len(vms), vms, err)
	}
	return allDeleted(ctx, s, n)
}

// renumber changes the ids of the VMs in the state file.
func (n *nas) renumber() error {
	b, err := os.ReadFile(n.state)
	if err != nil {
		return err
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		return err
	}
	state, ok := file["State"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s is not understood", n.state)
	}
	const shift = 100
	state["VMs"] = shifted(state["VMs"], shift, "id", "ID")
	for _, d := range state["Devices"].(map[string]any) {
		device := d.(map[string]any)
		for _, key := range []string{"vm", "VM"} {
			if number, ok := device[key].(float64); ok {
				device[key] = number + shift
			}
		}
	}
	state["LastVM"] = state["LastVM"].(float64) + shift
	if b, err = json.Marshal(file); err != nil {
		return err
	}
	return os.WriteFile(n.state, b, 0o600)
}

// shifted adds a number to the keys of a map, and to id fields in its values.
func shifted(things any, by float64, fields ...string) map[string]any {
	moved := map[string]any{}
	for key, v := range things.(map[string]any) {
		var number float64
		_, _ = fmt.Sscan(key, &number) // the simulator wrote a number
		thing := v.(map[string]any)
		for _, f := range fields {
			if id, ok := thing[f].(float64); ok {
				thing[f] = id + by
			}
		}
		moved[fmt.Sprint(number+by)] = thing
	}
	return moved
}
