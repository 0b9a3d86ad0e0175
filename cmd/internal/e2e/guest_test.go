//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
)

// guest is a VM, from the points of view of its operating system and of the provider.
type guest struct {
	*site
	name, id  string
	console   *qemu.Console
	mark      int       // start of the current boot in the console's output
	requested time.Time // when the request for this boot was sent
	report    report
}

// report is a guest's report of its state: the rest of each line by its first word.
type report map[string][]string

func (r report) one(key string) string {
	if len(r[key]) == 0 {
		return ""
	}
	return r[key][0]
}

func (s *site) guest(name, id string) *guest {
	return &guest{site: s, name: name, id: id, console: s.qemu.Console(id), requested: time.Now()}
}

// create requests a VM from an image.
func (s *site) create(req *providerv1.CreateRequest, image string) *guest {
	s.t.Helper()
	asked := time.Now()
	req.ImageJson = fmt.Sprintf(`{"Path":%q}`, image)
	vm, err := s.rpc.Create(s.t.Context(), req)
	if err != nil {
		s.t.Fatalf("Create %s: %v", req.GetName(), err)
	}
	s.finish(vm.GetTask())
	g := s.guest(req.GetName(), vm.GetId())
	g.requested = asked
	s.log.say("%s: created on %s", g.name, s.title)
	return g
}

func (g *guest) power(op providerv1.PowerOp, seconds int32) *providerv1.TaskRef {
	g.t.Helper()
	resp, err := g.rpc.Power(g.t.Context(), &providerv1.PowerRequest{Id: g.id, Op: op, GracefulTimeoutSeconds: seconds})
	if err != nil {
		g.t.Fatalf("Power %v of %s: %v", op, g.name, err)
	}
	return resp.GetTask()
}

// on presses the power button of a VM that is off.
func (g *guest) on() {
	g.t.Helper()
	g.mark = g.console.Mark()
	g.finish(g.power(providerv1.PowerOp_POWER_OP_ON, 0))
	g.log.say("%s: switched on", g.name)
}

// off cuts the power.
func (g *guest) off() {
	g.t.Helper()
	g.finish(g.power(providerv1.PowerOp_POWER_OP_OFF, 0))
	if got := g.describe(g.id).GetPowerState(); got != "Off" {
		g.t.Fatalf("%s was switched off and is %s", g.name, got)
	}
	g.log.say("%s: switched off", g.name)
}

// await waits for the guest's first word and then for its report.
func (g *guest) await(way string) report {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), bootPatience)
	defer cancel()
	for _, line := range []string{"guest hello", "guest ready"} {
		if _, err := g.console.Await(ctx, g.mark, line); err != nil {
			g.t.Fatalf("%s: %v", g.name, err)
		}
		if line == "guest hello" && way != "" {
			g.log.firstWord(g.name, way, time.Since(g.requested))
		}
	}
	g.report = parse(g.console.Since(g.mark))
	g.log.say("%s: up, with %s", g.name, strings.Join(g.report["address"], ", "))
	return g.report
}

func parse(output string) report {
	r := report{}
	for line := range strings.Lines(output) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "guest" {
			r[words[1]] = append(r[words[1]], strings.Join(words[2:], " "))
		}
	}
	return r
}

// command runs a command in the guest and returns the rest of the output line that begins with answer.
func (g *guest) command(command, answer string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	mark := g.console.Mark()
	if err := g.console.Say(command); err != nil {
		g.t.Fatalf("%s: %v", g.name, err)
	}
	text, err := g.console.Await(ctx, mark, answer)
	if err != nil {
		g.t.Fatalf("%s: %v", g.name, err)
	}
	return text
}

// write writes a marker to the guest's root disk.
func (g *guest) write(marker string) {
	g.t.Helper()
	if got := g.command("write "+marker, "guest marker "); got != marker {
		g.t.Fatalf("%s: the marker %q was written as %q", g.name, marker, got)
	}
	g.log.say("%s: wrote %q on its root disk", g.name, marker)
}

// holds compares the guest's report with the expected values.
func (g *guest) holds(key string, want ...string) {
	g.t.Helper()
	if got := g.report[key]; !slices.Equal(got, want) {
		g.t.Errorf("%s reports %s %q, want %q", g.name, key, got, want)
	}
}

// drives returns the expected sizes and serials of the guest's disks: those that the NAS has attached, in boot order.
func (g *guest) drives() []string {
	g.t.Helper()
	vm := g.vm()
	var list []string
	seen := map[string]byte{} // disks per bus
	for _, d := range vm.Devices {
		if d.Attributes.DType != "DISK" {
			continue
		}
		volume := strings.TrimPrefix(d.Attributes.Path, "/dev/zvol/")
		set, err := g.api.Datasets.Get(g.t.Context(), volume)
		if err != nil {
			g.t.Fatal(err)
		}
		prefix := map[string]string{"VIRTIO": "vd", "AHCI": "sd"}[d.Attributes.Type]
		list = append(list, fmt.Sprintf("%s%c %d %s", prefix, 'a'+seen[prefix], set.VolsizeBytes, d.Attributes.Serial))
		seen[prefix]++
	}
	return list
}

// nics returns the expected NICs of the guest: those that the NAS has attached.
func (g *guest) nics() []string {
	g.t.Helper()
	var list []string
	for _, d := range g.vm().Devices {
		if d.Attributes.DType == "NIC" {
			driver := map[string]string{"VIRTIO": "virtio_net", "E1000": "e1000"}[d.Attributes.Type]
			list = append(list, fmt.Sprintf("eth%d %s %s", len(list), strings.ToLower(d.Attributes.MAC), driver))
		}
	}
	return list
}

// ownIdentity checks the identity of the guest: its seed, UUID, disks and NICs.
func (g *guest) ownIdentity() {
	g.t.Helper()
	g.holds("uuid", g.id)
	g.holds("disk", g.drives()...)
	g.holds("nic", g.nics()...)
	mac := strings.Fields(g.nics()[0])[1]
	g.until(g.name+" says its UUID over the network", time.Minute, func() bool {
		return slices.ContainsFunc(g.heard.of(mac), func(line string) bool { return strings.HasSuffix(line, " guest uuid "+g.id) })
	})
}

// knows waits until Describe returns an address.
func (g *guest) knows(address string) {
	g.t.Helper()
	g.until("Describe of "+g.name+" returns "+address, 3*time.Minute, func() bool {
		return slices.Contains(g.describe(g.id).GetIps(), address)
	})
	g.log.say("%s: Describe returns its address %s (TrueNAS %s)", g.name, address, g.release)
}

// address returns the address of a NIC in the guest's report, without the prefix length.
func (g *guest) address(nic string) string {
	g.t.Helper()
	for _, line := range g.report["address"] {
		if words := strings.Fields(line); words[0] == nic {
			text, _, _ := strings.Cut(words[1], "/")
			return text
		}
	}
	g.t.Fatalf("%s has no address on %s: %q", g.name, nic, g.report["address"])
	return ""
}

func quoted(v any) string {
	text, _ := json.Marshal(v) // Strings and maps of them always marshal.
	return string(text)
}

// vm returns the VM on the NAS.
func (g *guest) vm() truenas.VM {
	g.t.Helper()
	found, err := g.api.VMs.ByUUID(g.t.Context(), g.id)
	if err != nil || len(found) != 1 {
		g.t.Fatalf("%s: the NAS has %d VMs with its UUID: %v", g.name, len(found), err)
	}
	return found[0]
}
