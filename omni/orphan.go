package omni

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// orphans finds machines that provably belong to this provider of this Omni, and whose request is gone or has another machine.
// With [RemoveOrphans] it removes them after the grace period.
func (w *watcher) orphans(ctx context.Context, inv *inventory) {
	found := map[string]string{}
	if w.cfg.Orphans != IgnoreOrphans {
		for b, vms := range inv.vms {
			for _, vm := range vms {
				if w.mark().owns(vm) && orphaned(inv, b, vm) {
					if text := w.orphan(ctx, b, vm); text != "" {
						found[b.name+" "+vm.GetId()] = text
					}
				}
			}
		}
	}
	w.troubles.replace("orphan ", found)
}

// orphaned reports whether no request has this machine.
func orphaned(inv *inventory, b *backend, vm *providerv1.VMInfo) bool {
	id := vm.GetName()
	r, note := inv.requests[id], inv.notes[id]
	switch {
	case r == nil:
		return true
	case note == nil:
		return false // The request is new or stuck. Method repairTeardowns handles it.
	}
	spec := note.TypedSpec().Value
	return spec.GetVmId() != "" && spec.GetCreateTask() == "" && (spec.GetProvider() != b.name || spec.GetVmId() != vm.GetId())
}

// orphan removes a machine after the grace period, and returns a text for the health report, or "".
func (w *watcher) orphan(ctx context.Context, b *backend, vm *providerv1.VMInfo) string {
	lasting := w.seenFor("orphan " + b.name + " " + vm.GetId())
	log := w.log.With(zap.String("request_id", vm.GetName()), zap.String("provider", b.name), zap.String("vm", vm.GetId()))
	switch {
	case lasting < w.cfg.OrphanGrace:
		return ""
	case w.cfg.Orphans == ReportOrphans:
		return fmt.Sprintf("%s: VM on %s has no machine request since %v: delete it there, or set --orphans=remove", vm.GetName(), b.name, lasting.Round(time.Second))
	}
	if err := w.removeMachine(ctx, "orphan "+vm.GetId(), located{b, vm.GetId()}); err != nil {
		if isWaiting(err) {
			return ""
		}
		text, _ := userText(err)
		return fmt.Sprintf("%s: removal of the VM on %s, which has no machine request, failed: %s", vm.GetName(), b.name, text)
	}
	w.shutdowns.end("orphan " + vm.GetId())
	log.Info("removed a VM without a machine request")
	return ""
}

// repairTeardowns repairs two states that the SDK leaves: a request in teardown without a record, which keeps the SDK's finalizer forever,
// and a record without a request. It acts at the second look, because the SDK may be about to change the state itself.
func (w *watcher) repairTeardowns(ctx context.Context, inv *inventory) {
	for id, r := range inv.requests {
		if r.Metadata().Phase() == resource.PhaseTearingDown && r.Metadata().Finalizers().Has(w.controller()) && inv.notes[id] == nil && w.seenBefore("stuck "+id) {
			w.finishTeardown(ctx, id, r.Metadata())
		}
	}
	for id, note := range inv.notes {
		if inv.requests[id] == nil && w.seenBefore("note "+id) {
			w.dropNote(ctx, id, note)
		}
	}
}

// finishTeardown removes the machines of a request, and then its finalizer.
func (w *watcher) finishTeardown(ctx context.Context, id string, request resource.Pointer) {
	if err := w.release(ctx, w.log, id, nil); err != nil {
		return // Waiting, or reported by the health text; the next comparison retries.
	}
	if err := w.cfg.State.RemoveFinalizer(ctx, request, w.controller()); err != nil && !state.IsNotFoundError(err) {
		w.log.Warn("removal of the finalizer of a stuck request failed", zap.String("request_id", id), zap.Error(err))
		return
	}
	w.log.Info("released a stuck request without a machine record", zap.String("request_id", id))
}

// dropNote removes a record without a request, and its machine as an orphan.
func (w *watcher) dropNote(ctx context.Context, id string, note *machine.Machine) {
	spec := note.TypedSpec().Value
	found, err := w.find(ctx, id, spec)
	if err != nil {
		return // The backend is unreachable or no longer configured.
	}
	if len(found) > 0 && !w.mayRemove(id) {
		if there, err := w.exists(ctx, found); there || err != nil {
			return
		}
	}
	if err := w.release(ctx, w.log, id, spec); err != nil {
		return
	}
	owner := note.Metadata().Owner()
	if _, err := w.cfg.State.Teardown(ctx, note.Metadata(), state.WithTeardownOwner(owner)); err != nil && !state.IsNotFoundError(err) {
		w.log.Warn("removal of a machine record without a request failed", zap.String("request_id", id), zap.Error(err))
		return
	}
	if err := w.cfg.State.Destroy(ctx, note.Metadata(), state.WithDestroyOwner(owner)); err != nil && !state.IsNotFoundError(err) {
		w.log.Warn("removal of a machine record without a request failed", zap.String("request_id", id), zap.Error(err))
	}
}

// mayRemove reports whether the configuration allows the removal of orphans and the grace period is over.
func (w *watcher) mayRemove(id string) bool {
	return w.seenFor("note "+id) >= w.cfg.OrphanGrace && w.cfg.Orphans == RemoveOrphans
}

func (w *watcher) exists(ctx context.Context, machines []located) (bool, error) {
	for _, m := range machines {
		found, err := m.backend.describe(ctx, m.vm)
		if err != nil && !isNotFound(err) {
			return false, err
		}
		if found.GetExists() {
			return true, nil
		}
	}
	return false, nil
}
