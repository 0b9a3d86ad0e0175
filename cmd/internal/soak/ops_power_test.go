package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Responses that no provider may return. They are plain errors, so no expected code matches them.
var (
	errEmptyID     = errors.New("the id is empty")
	errOtherID     = errors.New("two ids for one VM")
	errTask        = errors.New("a task of a VM must not have an error")
	errStillExists = errors.New("a VM that was never created is reported to exist")
	errNotListed   = errNotYet("the VM is not in the list")
	errSlowTask    = errNotYet("the task is not over yet")
)

// powered calls Power and waits for the task, if there is one.
func (k *worker) powered(m *machine, what string, op providerv1.PowerOp, want codes.Code) bool {
	return k.do(what+" of "+m.name, want, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Power(ctx, &providerv1.PowerRequest{Id: m.id, Op: op})
		if err != nil {
			return err
		}
		return waitFor(ctx, client, resp.GetTask())
	})
}

func (k *worker) powerOn(m *machine) {
	if k.powered(m, "Power on", providerv1.PowerOp_POWER_OP_ON, codes.OK) {
		m.on = true
		k.check(m)
	}
}

func (k *worker) powerOff(m *machine) {
	if k.powered(m, "Power off", providerv1.PowerOp_POWER_OP_OFF, codes.OK) {
		m.on = false
		k.check(m)
	}
}

// shutDown repeats the request until the VM is off, like the manager: a finished task does not mean that the VM is off.
func (k *worker) shutDown(m *machine) {
	m.on = false
	deadline := time.Now().Add(persistence)
	for time.Now().Before(deadline) && !k.w.stopped() {
		if !k.powered(m, "Graceful shutdown", providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, codes.OK) {
			return
		}
		if k.state(m) == "STOPPED" {
			k.check(m)
			return
		}
	}
	if !k.w.stopped() {
		k.violated("VM %s does not shut down", m.name)
	}
}

// reboot reboots after the guest has booted. An interrupted reboot may leave the VM off; then the manager starts it.
func (k *worker) reboot(m *machine) {
	if !m.on {
		k.powered(m, "Reboot while off", providerv1.PowerOp_POWER_OP_REBOOT, codes.FailedPrecondition)
		return
	}
	k.do("Reboot of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Power(ctx, &providerv1.PowerRequest{Id: m.id, Op: providerv1.PowerOp_POWER_OP_REBOOT})
		if err == nil {
			err = waitFor(ctx, client, resp.GetTask())
		}
		if err != nil {
			_, _ = client.Power(ctx, &providerv1.PowerRequest{Id: m.id, Op: providerv1.PowerOp_POWER_OP_ON})
		}
		return err
	})
	k.powerOn(m)
}

func (k *worker) reconfigure(m *machine) {
	want := *m
	want.extras = append([]disk(nil), m.extras...)
	switch n := k.random.IntN(4); {
	case n == 0:
		want.cpus = 1 + m.cpus%4
	case n == 1:
		want.memory = 256 + m.memory%1024
	case n == 2 && len(want.extras) > 0 && want.extras[0].gib < 8:
		want.extras[0].gib++
	case len(want.extras) < 4:
		want.extras = append(want.extras, disk{name: fmt.Sprintf("more-%d", len(want.extras)), gib: 1})
	default:
		want.cpus = 1 + m.cpus%4
	}
	code := codes.OK
	if m.on && !m.line04() {
		code = codes.FailedPrecondition // For a manager of line 0.4 a change that needs a restart is an error.
	}
	if k.do("Reconfigure of "+m.name, code, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: m.id, DesiredJson: want.desired()})
		if err == nil && resp.GetRestartRequired() && !m.on {
			return errNotYet("a VM that is off needs no restart")
		}
		return err
	}) && code == codes.OK {
		*m = want
	}
	k.check(m)
}

// write writes to the root disk as a guest does.
func (k *worker) write(m *machine) {
	held := fmt.Sprintf("%s at step %d", m.name, k.step)
	content := make([]byte, 64)
	copy(content, held)
	if _, err := k.w.nas.WriteVolume(m.volume(m.root), content, 0); err != nil {
		k.violated("the guest of %s cannot write: %v", m.name, err)
		return
	}
	m.held = held
	k.w.counted(k.w.counts, "Write")
}
