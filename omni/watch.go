package omni

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/omni/client/api/omni/specs"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// watcher compares Omni's requests with what the providers list, since no step of the SDK's runs again after a request is
// provisioned. What it remembers between two looks is only how long it has seen something.
type watcher struct {
	*Provisioner
	first map[string]time.Time // when something was seen first, without a break
	seen  map[string]bool      // what was seen at this look
}

// watch looks until ctx ends.
func (p *Provisioner) watch(ctx context.Context) {
	w := &watcher{Provisioner: p, first: map[string]time.Time{}}
	tick := time.NewTicker(p.cfg.WatchInterval)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look compares once. When Omni cannot be read completely nothing is concluded.
func (w *watcher) look(ctx context.Context) {
	inv, err := w.take(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("machines are not compared with requests", zap.Error(err))
			w.troubles.set("omni", err.Error())
		}
		return
	}
	w.troubles.set("omni", "")
	w.progress.seen(inv)
	w.seen = map[string]bool{}
	w.drifted(ctx, inv)
	w.orphans(ctx, inv)
	w.stuck(ctx, inv)
	for what := range w.first {
		if !w.seen[what] {
			delete(w.first, what)
		}
	}
}

// lasting says for how long something has been seen at every look.
func (w *watcher) lasting(what string) time.Duration {
	w.seen[what] = true
	if _, ok := w.first[what]; !ok {
		w.first[what] = time.Now()
	}
	return time.Since(w.first[what])
}

// again says whether something was seen at the look before, too: what is just changing is left alone.
func (w *watcher) again(what string) bool {
	_, before := w.first[what]
	w.lasting(what)
	return before
}

// drifted looks after the machines of provisioned requests: one that is off is started, one that is gone is reported.
func (w *watcher) drifted(ctx context.Context, inv *inventory) {
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
		if text := w.drift(ctx, inv, id, spec, b, vms); text != "" {
			found[id] = text
		}
	}
	w.troubles.replace("machine ", found)
}

// drift answers what is wrong with one machine, or "".
func (w *watcher) drift(ctx context.Context, inv *inventory, id string, spec *machine.MachineSpec, b *behind, vms []*providerv1.VMInfo) string {
	vm := byID(vms, spec.GetVmId())
	switch {
	case vm == nil:
		return w.missing(ctx, id, spec, b)
	case vm.GetPowerState() == stateOn:
		running := w.lasting("running " + id)
		if joins := w.cfg.JoinTimeout; joins > 0 && running > joins && !inv.joined[id] && time.Since(inv.statuses[id].Metadata().Updated()) > joins {
			return fmt.Sprintf("the machine of request %s runs on %s and has not joined Omni for %v: look at its console, and whether its network reaches Omni", id, b.name, joins.Round(time.Second))
		}
		return ""
	case vm.GetPowerState() == "" || !w.again("off "+id):
		return ""
	case w.cfg.LeaveStopped:
		return fmt.Sprintf("the machine of request %s is off on %s", id, b.name)
	}
	if _, err := b.power(ctx, spec.GetVmId(), providerv1.PowerOp_POWER_OP_ON, 0); err != nil {
		text, _ := told(err)
		return fmt.Sprintf("the machine of request %s is off and does not start: %s", id, text)
	}
	w.log.Info("a machine was off and has been started", zap.String("request_id", id), zap.String("provider", b.name), zap.String("vm", spec.GetVmId()))
	return ""
}

// missing reports a machine that is gone, when its provider confirms it.
func (w *watcher) missing(ctx context.Context, id string, spec *machine.MachineSpec, b *behind) string {
	found, err := b.describe(ctx, spec.GetVmId())
	if err != nil && !gone(err) || found.GetExists() {
		return ""
	}
	return fmt.Sprintf("the machine of request %s (%s) is gone from %s: it was deleted there; remove the machine from its cluster in Omni to get another one", id, spec.GetVmId(), b.name)
}

func byID(vms []*providerv1.VMInfo, id string) *providerv1.VMInfo {
	for _, vm := range vms {
		if vm.GetId() == id {
			return vm
		}
	}
	return nil
}
