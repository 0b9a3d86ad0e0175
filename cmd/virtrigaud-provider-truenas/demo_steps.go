package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// demoSteps returns the steps of the demo: operations on VMs, and faults during them.
func demoSteps() []step {
	return []step{
		{"The configuration is checked against the NAS", demoValidate},
		{"A VM is made from an image on the NAS", demoCreate},
		{"The same request comes again", demoRepeat},
		{"The VM is started", demoStart},
		{"The connection to the NAS is cut while a VM is made", demoCut},
		{"The provider is restarted", demoRestart},
		{"The guest gets a shutdown request", demoShutdown},
		{"A guest that ignores the request is powered off", demoOff},
		{"A request that the NAS cannot honour is refused", demoRefuse},
		{"A VM that was made by hand is shown and protected", demoAdopt},
		{"An image is fetched from a URL and made ready", demoPrepare},
		{"Five VMs are made from it", demoClones},
		{"Twenty VMs are made and started at once", demoMany},
		{"A thousand polls are answered", demoPolls},
		{"All VMs are deleted", demoDelete},
	}
}

func demoValidate(ctx context.Context, t *tour) (string, error) {
	answer, err := t.client.Validate(ctx, &providerv1.ValidateRequest{})
	if err != nil {
		return "", err
	}
	return answer.GetMessage(), must(answer.GetOk(), "the provider says: %s", answer.GetMessage())
}

func demoCreate(ctx context.Context, t *tour) (string, error) {
	id, err := t.create(ctx, webRequest())
	if err != nil {
		return "", err
	}
	t.web = id
	vm, err := t.vm(id)
	if err != nil {
		return "", err
	}
	clones := t.datasets(func(d sim.DatasetState) bool { return d.Origin == goldenImage && d.Size == 20<<30 })
	return fmt.Sprintf("The NAS has VM %s (%s), its root disk a clone of %s.", vm.Name, id, goldenImage), errors.Join(
		must(fmt.Sprint(vm.Config["memory"]) == "2048", "it has %v MiB", vm.Config["memory"]),
		must(kinds(vm) == "CDROM DISK DISK NIC", "its devices are %s", kinds(vm)),
		must(len(clones) == 1, "%d volumes of 20 GiB are clones of the image", len(clones)),
	)
}

func demoRepeat(ctx context.Context, t *tour) (string, error) {
	before := t.nas.State()
	id, err := t.create(ctx, webRequest())
	if err != nil {
		return "", err
	}
	return "The answer is the same id, and nothing on the NAS has changed.", errors.Join(
		must(id == t.web, "the id is %s", id),
		must(reflect.DeepEqual(before, t.nas.State()), "the NAS has changed"),
	)
}

func demoStart(ctx context.Context, t *tour) (string, error) {
	return "The NAS says RUNNING.", t.power(ctx, t.web, providerv1.PowerOp_POWER_OP_ON, "On", "RUNNING")
}

// demoCut drops the reply to vm.create, so that the provider does not know whether the VM exists. The step retries, like the
// manager.
func demoCut(ctx context.Context, t *tour) (string, error) {
	t.nas.Inject(sim.Fault{Method: "vm.create", Nth: 1, Then: sim.CutAfter})
	request := webRequest()
	request.Name = "db"
	var id string
	err := until(ctx, "the VM is made", func() (bool, error) {
		made, err := t.create(ctx, request)
		id = made
		if status.Code(err) == codes.Unavailable {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return "", err
	}
	vm, err := t.vm(id)
	return "The second attempt has completed what the first one left: there is one such VM, with all its devices.", errors.Join(err,
		must(len(t.nas.VMs()) == 2, "the NAS has %d VMs", len(t.nas.VMs())),
		must(kinds(vm) == "CDROM DISK DISK NIC", "its devices are %s", kinds(vm)),
	)
}

func demoRestart(ctx context.Context, t *tour) (string, error) {
	if err := t.stop(); err != nil {
		return "", err
	}
	if err := t.start(); err != nil {
		return "", err
	}
	return "A new provider, without any state of its own, knows the VM by the same id.", t.describe(ctx, t.web, "On")
}

func demoShutdown(ctx context.Context, t *tour) (string, error) {
	return "The NAS says STOPPED.", t.power(ctx, t.web, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, "Off", "STOPPED")
}

func demoOff(ctx context.Context, t *tour) (string, error) {
	t.nas.SetGuest("", sim.Guest{IgnoresPowerButton: true})
	defer t.nas.SetGuest("", sim.Guest{})
	if err := t.power(ctx, t.web, providerv1.PowerOp_POWER_OP_ON, "On", "RUNNING"); err != nil {
		return "", err
	}
	return "The NAS says STOPPED.", t.power(ctx, t.web, providerv1.PowerOp_POWER_OP_OFF, "Off", "STOPPED")
}

func demoRefuse(ctx context.Context, t *tour) (string, error) {
	before := t.nas.State()
	request := webRequest()
	request.Name, request.NetworksJson = "other", `[{"Name":"eth0","Bridge":"br9"}]`
	_, err := t.client.Create(ctx, request)
	said := status.Convert(err)
	return said.Message(), errors.Join(
		must(said.Code() == codes.InvalidArgument || said.Code() == codes.FailedPrecondition, "the code is %s", said.Code()),
		must(strings.Contains(said.Message(), "br9"), "the error does not name the field: %s", said.Message()),
		must(reflect.DeepEqual(before, t.nas.State()), "the NAS has changed"),
	)
}

func demoAdopt(ctx context.Context, t *tour) (string, error) {
	if err := t.nas.AddVM("desktop", 2, 4096); err != nil {
		return "", err
	}
	id, err := t.listed(ctx, "desktop")
	if err != nil {
		return "", err
	}
	_, err = t.client.Delete(ctx, &providerv1.DeleteRequest{Id: id})
	_, stays := t.vm(id)
	return status.Convert(err).Message(), errors.Join(must(err != nil, "it was deleted"), stays)
}

func demoMany(ctx context.Context, t *tour) (string, error) {
	t.countCalls()
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range 20 {
		group.Go(func() error {
			request := webRequest()
			request.Name, request.NetworksJson = fmt.Sprintf("node-%d", i), `[{"Name":"eth0","Bridge":"br0"}]`
			id, err := t.create(groupCtx, request)
			if err != nil {
				return err
			}
			return t.power(groupCtx, id, providerv1.PowerOp_POWER_OP_ON, "On", "RUNNING")
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	list, err := t.client.ListVMs(ctx, &providerv1.ListVMsRequest{})
	return "ListVMs shows 28 VMs.", errors.Join(err, must(len(list.GetVms()) == 28, "ListVMs shows %d", len(list.GetVms())))
}

func demoPolls(ctx context.Context, t *tour) (string, error) {
	t.countCalls()
	t.nas.ResetCalls()
	for range 1000 {
		if err := t.describe(ctx, t.web, "Off"); err != nil {
			return "", err
		}
	}
	calls := len(t.nas.Calls())
	return fmt.Sprintf("1000 times Describe, %d calls to the NAS.", calls), must(calls < 10, "%d calls to the NAS", calls)
}

func demoDelete(ctx context.Context, t *tour) (string, error) {
	t.countCalls()
	list, err := t.client.ListVMs(ctx, &providerv1.ListVMsRequest{})
	if err != nil {
		return "", err
	}
	for _, vm := range list.GetVms() {
		if vm.GetName() == "desktop" {
			continue
		}
		if _, err := t.client.Delete(ctx, &providerv1.DeleteRequest{Id: vm.GetId()}); err != nil {
			return "", err
		}
	}
	left := t.datasets(func(d sim.DatasetState) bool { return strings.Contains(d.Name, "/vms/") })
	return "The VM made by hand and the images are left, and no disk of the others.", errors.Join(
		must(len(t.nas.VMs()) == 1, "%d VMs are left", len(t.nas.VMs())),
		must(len(left) == 0, "datasets are left: %v", left),
	)
}
