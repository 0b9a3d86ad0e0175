package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// patience limits the wait for the NAS, and pause is the interval of polls.
const (
	patience = 20 * time.Second
	pause    = 20 * time.Millisecond
)

// must returns an error unless the condition holds.
func must(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// create requests a VM and waits for its task, if there is one.
func (t *tour) create(ctx context.Context, request *providerv1.CreateRequest) (string, error) {
	answer, err := t.client.Create(ctx, request)
	if err != nil {
		return "", err
	}
	return answer.GetId(), t.done(ctx, answer.GetTask())
}

// power switches a VM, waits for the task, and checks the power state, first in Describe and then on the NAS.
func (t *tour) power(ctx context.Context, id string, op providerv1.PowerOp, want, onNAS string) error {
	answer, err := t.client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op, GracefulTimeoutSeconds: 30})
	if err != nil {
		return err
	}
	if err := t.done(ctx, answer.GetTask()); err != nil {
		return err
	}
	if err := t.describe(ctx, id, want); err != nil {
		return err
	}
	vm, err := t.vm(id)
	if err != nil {
		return err
	}
	return must(vm.State == onNAS, "the NAS says %s", vm.State)
}

// done waits for the end of a task.
func (t *tour) done(ctx context.Context, task *providerv1.TaskRef) error {
	if task.GetId() == "" {
		return nil
	}
	return until(ctx, "the task ends", func() (bool, error) {
		answer, err := t.client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		if err != nil {
			return false, err
		}
		return answer.GetDone(), must(answer.GetError() == "", "the task failed: %s", answer.GetError())
	})
}

// describe waits until Describe returns a power state.
func (t *tour) describe(ctx context.Context, id, want string) error {
	return until(ctx, "the VM is "+want, func() (bool, error) {
		answer, err := t.client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
		if err != nil {
			return false, err
		}
		return answer.GetPowerState() == want, must(answer.GetExists(), "the provider does not know VM %s", id)
	})
}

func until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// listed returns the id of a VM from ListVMs.
func (t *tour) listed(ctx context.Context, name string) (string, error) {
	answer, err := t.client.ListVMs(ctx, &providerv1.ListVMsRequest{})
	if err != nil {
		return "", err
	}
	for _, vm := range answer.GetVms() {
		if vm.GetName() == name {
			return vm.GetId(), nil
		}
	}
	return "", fmt.Errorf("ListVMs does not show %s", name)
}

// vm returns the state of a VM on the NAS.
func (t *tour) vm(id string) (sim.VMState, error) {
	for _, vm := range t.nas.VMs() {
		if vm.Config["uuid"] == id {
			return vm, nil
		}
	}
	return sim.VMState{}, fmt.Errorf("the NAS has no VM with UUID %s", id)
}

// datasets returns the names of datasets on the NAS.
func (t *tour) datasets(wanted func(sim.DatasetState) bool) []string {
	var names []string
	for _, d := range t.nas.State().Datasets {
		if wanted(d) {
			names = append(names, d.Name)
		}
	}
	return names
}

// kinds lists the kinds of a VM's devices.
func kinds(vm sim.VMState) string {
	var list []string
	for _, d := range vm.Devices {
		list = append(list, fmt.Sprint(d.Attributes["dtype"]))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
