package omni

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// watcher compares Omni's requests with the machines of the backends, because the SDK runs no step after a request is
// provisioned. Between two looks it remembers only since when it has seen each state.
type watcher struct {
	*Provisioner
	first map[string]time.Time // start of each state that has lasted since
	seen  map[string]bool      // states seen at this look
}

// watch compares periodically until ctx ends, or until Omni has rejected the key for too long.
func (p *Provisioner) watch(ctx context.Context) error {
	w := &watcher{Provisioner: p, first: map[string]time.Time{}}
	tick := time.NewTicker(p.cfg.WatchInterval)
	defer tick.Stop()
	for {
		w.look(ctx)
		if since, _ := p.access.state(); !since.IsZero() && time.Since(since) >= p.cfg.KeyPatience {
			return p.Ready()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look compares once. Without a complete reading of Omni it concludes nothing.
func (w *watcher) look(ctx context.Context) {
	inv, err := w.take(ctx)
	if err != nil {
		w.lookFailed(ctx, err)
		return
	}
	w.access.note(nil)
	w.publishVersion(ctx)
	w.troubles.set("omni", "")
	w.progress.seen(inv)
	w.seen = map[string]bool{}
	w.checkMachines(ctx, inv)
	w.orphans(ctx, inv)
	w.repairTeardowns(ctx, inv)
	for what := range w.first {
		if !w.seen[what] {
			delete(w.first, what)
		}
	}
}

// lookFailed reports why Omni could not be read.
func (w *watcher) lookFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.access.note(err)
	if rejected := w.Ready(); rejected != nil {
		w.log.Error("no access to Omni", zap.Error(rejected))
		return
	}
	w.log.Warn("comparison of machines with requests failed", zap.Error(err))
	w.troubles.set("omni", err.Error())
}

// seenFor returns how long a state has been seen at every look.
func (w *watcher) seenFor(what string) time.Duration {
	w.seen[what] = true
	if _, ok := w.first[what]; !ok {
		w.first[what] = time.Now()
	}
	return time.Since(w.first[what])
}

// seenBefore reports whether the state was also seen at the previous look. A state in transition is not seen twice.
func (w *watcher) seenBefore(what string) bool {
	_, before := w.first[what]
	w.seenFor(what)
	return before
}

// checkMachines checks the machines of provisioned requests. It starts a machine that is off, and reports one that is gone.
func (w *watcher) checkMachines(ctx context.Context, inv *inventory) {
	found := map[string]string{}
	for id, status := range inv.statuses {
		r, note := inv.requests[id], inv.notes[id]
		if status.TypedSpec().Value.GetStage() != specs.MachineRequestStatusSpec_PROVISIONED || r == nil || r.Metadata().Phase() != resource.PhaseRunning || note == nil {
			continue
		}
		spec := note.TypedSpec().Value
		b := w.provider(spec.GetProvider())
		vms, answered := inv.vms[b]
		if b == nil || !answered {
			continue
		}
		text := w.checkMachine(ctx, inv, id, spec, b, vms)
		if text != "" {
			found[id] = text
		}
		w.showInStatus(ctx, status, text)
	}
	w.troubles.replace("machine ", found)
}

// checkMachine returns the fault of one machine, or "".
func (w *watcher) checkMachine(ctx context.Context, inv *inventory, id string, spec *machine.MachineSpec, b *backend, vms []*providerv1.VMInfo) string {
	vm := byID(vms, spec.GetVmId())
	switch {
	case vm == nil:
		return w.missing(ctx, id, spec, b)
	case vm.GetPowerState() == stateOn:
		running := w.seenFor("running " + id)
		if joins := w.cfg.JoinTimeout; joins > 0 && running > joins && !inv.joined[id] && time.Since(inv.statuses[id].Metadata().Updated()) > joins {
			return fmt.Sprintf("%s: VM runs on %s and has not joined Omni for %v: check its console%s, and whether its network reaches Omni", id, b.name, joins.Round(time.Second), consoleOf(ctx, b, vm))
		}
		return ""
	case vm.GetPowerState() == "" || !w.seenBefore("off "+id):
		return ""
	case w.cfg.LeaveStopped:
		return fmt.Sprintf("%s: VM is off on %s", id, b.name)
	}
	if _, err := b.power(ctx, spec.GetVmId(), providerv1.PowerOp_POWER_OP_ON, 0); err != nil {
		text, _ := userText(err)
		return fmt.Sprintf("%s: VM is off on %s and does not start: %s", id, b.name, text)
	}
	w.log.Info("started a VM that was off", zap.String("request_id", id), zap.String("provider", b.name), zap.String("vm", spec.GetVmId()))
	return ""
}

// missing reports a machine that was deleted on the NAS, after its backend confirms it. The removal of such a machine from its
// cluster hangs, because Omni waits for it to reset. After the deletion of its link, Omni replaces it (seen with Omni 1.9.3).
func (w *watcher) missing(ctx context.Context, id string, spec *machine.MachineSpec, b *backend) string {
	found, err := b.describe(ctx, spec.GetVmId())
	if err != nil && !isNotFound(err) || found.GetExists() {
		return ""
	}
	link := or(spec.GetUuid(), spec.GetVmId())
	return fmt.Sprintf("%s: VM was deleted on %s: run \"omnictl delete link %s\" so that Omni replaces it", id, b.name, link)
}

// showInStatus writes the fault of a provisioned machine into the status of its request, because Omni shows a machine that was
// deleted on the NAS as running. The SDK does not write the status of a provisioned request again.
func (w *watcher) showInStatus(ctx context.Context, status *infrares.MachineRequestStatus, text string) {
	if status.TypedSpec().Value.GetError() == text {
		return
	}
	_, err := safe.StateUpdateWithConflicts(ctx, w.cfg.State, status.Metadata(), func(s *infrares.MachineRequestStatus) error {
		if s.TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED {
			s.TypedSpec().Value.Error = text
		}
		return nil
	}, state.WithUpdateOwner(status.Metadata().Owner()))
	if err != nil && !state.IsNotFoundError(err) && ctx.Err() == nil {
		w.log.Warn("update of a machine request's status failed", zap.String("request_id", status.Metadata().ID()), zap.Error(err))
	}
}

func byID(vms []*providerv1.VMInfo, id string) *providerv1.VMInfo {
	for _, vm := range vms {
		if vm.GetId() == id {
			return vm
		}
	}
	return nil
}

// consoleOf returns how to reach a machine's console, as far as the backend reports it: the name of the serial console, and the
// address of the screen if its class has one. Neither contains a password.
func consoleOf(ctx context.Context, b *backend, vm *providerv1.VMInfo) string {
	var ways []string
	if name := vm.GetProviderRaw()["serial_console"]; name != "" {
		ways = append(ways, `serial console "`+name+`" on the NAS`)
	}
	if found, err := b.describe(ctx, vm.GetId()); err == nil && found.GetConsoleUrl() != "" {
		ways = append(ways, "screen "+found.GetConsoleUrl())
	}
	if len(ways) == 0 {
		return ""
	}
	return " (" + strings.Join(ways, ", ") + ")"
}
