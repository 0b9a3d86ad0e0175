package server_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
)

// The preparation and the calls of operations.
type (
	setting func(*testing.T, providerv1.ProviderClient, *sim.Sim)
	request func(context.Context, providerv1.ProviderClient) error
)

// vmOperations returns the operations of VMs and their snapshots.
func vmOperations() []operation {
	return []operation{
		{name: "Create", rpcs: []string{"Create"}, prepare: withTemplate, run: createWeb1},
		{name: "Create of a blank VM", rpcs: []string{"Create"}, prepare: withNothing, run: createBlank},
		{name: "Create with a choice of pools", rpcs: []string{"Create"}, prepare: withNothing, run: createBlank, options: choiceOptions},
		{name: "Create with a choice of pools that is given up", rpcs: []string{"Create", "Delete"}, prepare: withNothing, run: createThenDelete(createBlank, idOfWeb1), options: choiceOptions},
		{name: "Create that is given up", rpcs: []string{"Create", "Delete"}, prepare: withTemplate, run: createThenDelete(createWeb1, idOfWeb1)},
		{name: "Power on", rpcs: []string{"Power"}, prepare: withWeb1, run: power(providerv1.PowerOp_POWER_OP_ON)},
		{name: "Power off", rpcs: []string{"Power"}, prepare: withWeb1Running, run: power(providerv1.PowerOp_POWER_OP_OFF)},
		{name: "Graceful shutdown", rpcs: []string{"Power", "TaskStatus"}, prepare: withWeb1Running, run: power(providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)},
		{name: "Reboot", rpcs: []string{"Power", "TaskStatus"}, prepare: withWeb1Running, run: power(providerv1.PowerOp_POWER_OP_REBOOT)},
		{name: "Delete", rpcs: []string{"Delete"}, prepare: withWeb1Running, run: deleteVM(idOfWeb1)},
		{name: "Snapshot", rpcs: []string{"SnapshotCreate"}, prepare: withWeb1, run: snapshotWeb1},
		{name: "Revert", rpcs: []string{"SnapshotRevert"}, prepare: withSnapshot, run: revertWeb1},
		{name: "Revert under newer snapshots of others", rpcs: []string{"SnapshotRevert"}, prepare: withForeignSnapshots, run: revertWeb1},
		{name: "Delete with snapshots of others", rpcs: []string{"Delete"}, prepare: withForeignSnapshots, run: deleteVM(idOfWeb1)},
		{name: "Delete a snapshot", rpcs: []string{"SnapshotDelete"}, prepare: withSnapshot, run: deleteSnapshot},
		{name: "Clone", rpcs: []string{"Clone"}, prepare: withWeb1Running, run: cloneWeb1},
		{name: "Delete the source of a clone", rpcs: []string{"Delete"}, prepare: withClone, run: deleteVM(idOfWeb1)},
		{name: "Delete a clone", rpcs: []string{"Delete"}, prepare: withClone, run: deleteVM(idOfWeb2)},
		{name: "Delete of a VM whose description was emptied", rpcs: []string{"Delete"}, prepare: withWeb1Edited, run: deleteVM(idOfWeb1)},
		{name: "Delete a snapshot beside a copy", rpcs: []string{"SnapshotDelete"}, prepare: withWeb1Copied, run: deleteSnapshot},
		{name: "Reconfigure", rpcs: []string{"Reconfigure"}, prepare: withWeb1, run: reconfigureWeb1},
		{name: "Reconfigure of tags", rpcs: []string{"Reconfigure"}, prepare: withBootISO, run: retagged},
		{name: "Boot override", rpcs: []string{"Reconfigure"}, prepare: withBootISO, run: setBoot("boot", "network"), options: bootOptions},
		{name: "Power on that boots the network once", rpcs: []string{"Power"}, prepare: setting(withBootISO).after(setBoot("boot_once", "network")), run: turnOn, options: bootOptions},
	}
}

func withNothing(*testing.T, providerv1.ProviderClient, *sim.Sim) {}

func withTemplate(t *testing.T, _ providerv1.ProviderClient, nas *sim.Sim) { addImage(t, nas) }

// after returns a setting with additional preceding steps.
func (s setting) after(steps ...request) setting {
	return func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		s(t, client, nas)
		for _, step := range steps {
			if err := step(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func withWeb1(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	setting(withTemplate).after(createWeb1)(t, client, nas)
}

func withWeb1Running(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	setting(withWeb1).after(power(providerv1.PowerOp_POWER_OP_ON))(t, client, nas)
}

func withClone(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	setting(withWeb1).after(cloneWeb1)(t, client, nas)
}

// withSnapshot makes a disk that was written to after the snapshot.
func withSnapshot(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	setting(withWeb1).after(snapshotWeb1)(t, client, nas)
	write(t, nas, "tank/virtrigaud/vms/web_1/root", "after")
}

// withWeb1Edited makes a VM whose description a user has emptied.
func withWeb1Edited(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	withWeb1(t, client, nas)
	if err := nas.EditDescription("web_1", ""); err != nil {
		t.Fatal(err)
	}
}

// withWeb1Copied makes a VM with a snapshot, and a copy of the VM as the web interface makes it.
func withWeb1Copied(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	withSnapshot(t, client, nas)
	if err := nas.CloneVM("web_1", "copy"); err != nil {
		t.Fatal(err)
	}
}

func web1() *providerv1.CreateRequest {
	req := wanted("web-1")
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	return req
}

func createWeb1(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.Create(ctx, web1())
	return err
}

// createBlank makes a VM without image and seed.
func createBlank(ctx context.Context, client providerv1.ProviderClient) error {
	req := wanted("web-1")
	req.UserData, req.NetworksJson = nil, `[{"Bridge":"br0"},{"Bridge":"br20"}]`
	_, err := client.Create(ctx, req)
	return err
}

// createWithImport makes a VM whose root disk is the imported one.
func createWithImport(ctx context.Context, client providerv1.ProviderClient) error {
	req := wanted("web-1")
	req.UserData, req.ClassJson, req.ImageJson = nil, `{"CPU":1,"MemoryMiB":512}`, `{"Path":"tank/virtrigaud/imports/web_1/disk"}`
	_, err := client.Create(ctx, req)
	return err
}

// createThenDelete makes a request once, and then deletes its VM, whatever the result.
func createThenDelete(do request, id string) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		_ = do(ctx, client)
		return deleteVM(id)(ctx, client)
	}
}

// power makes a Create and a Power, as the manager reconciles a VM, until the task is done if there is one.
func power(op providerv1.PowerOp) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		created, err := client.Create(ctx, web1())
		if err != nil {
			return err
		}
		resp, err := client.Power(ctx, &providerv1.PowerRequest{Id: created.GetId(), Op: op})
		if err != nil {
			return err
		}
		if err := awaited(ctx, client, resp.GetTask()); err != nil {
			return err
		}
		vm, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: created.GetId()})
		if off := op == providerv1.PowerOp_POWER_OP_OFF || op == providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL; err == nil && (vm.GetPowerState() == "Off") != off {
			err = errors.New("the VM is " + vm.GetPowerState()) // The manager retries until it has the state.
		}
		return err
	}
}

// awaited polls a task as the manager does, but faster.
func awaited(ctx context.Context, client providerv1.ProviderClient, task *providerv1.TaskRef) error {
	for task.GetId() != "" {
		status, err := client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		if err != nil {
			return err
		}
		if status.GetError() != "" {
			return taskFailed(status.GetError())
		}
		if status.GetDone() {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// taskFailed is the error of a failed task.
type taskFailed string

func (e taskFailed) Error() string { return "the task failed: " + string(e) }

func deleteVM(id string) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id})
		return err
	}
}

func snapshotWeb1(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: idOfWeb1, NameHint: "s1", Description: "d"})
	return err
}

func revertWeb1(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: idOfWeb1, SnapshotId: "s1"})
	return err
}

func deleteSnapshot(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: idOfWeb1, SnapshotId: "s1"})
	return err
}

func cloneWeb1(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", Linked: true, CustomizeJson: `{"hostname":"second"}`})
	return err
}

func reconfigureWeb1(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1,
		DesiredJson: desired(4, 4096, 30, `[{"SizeGiB":6,"Name":"data"},{"SizeGiB":7,"Name":"new"}]`)})
	return err
}

// fullClone copies the disks, which TrueNAS supports since 25.10. Clone returns a task immediately, and callers poll it until it is
// done, also after a restart of the provider. Only a failed clone is requested again.
func fullClone() operation {
	var tasks sync.Map // by the NAS and by the caller
	return operation{
		name: "Full clone", rpcs: []string{"Clone", "TaskStatus"}, prepare: withWeb1,
		options: []func(*server.Config){func(c *server.Config) { c.CloneWithin = time.Nanosecond }},
		run: func(ctx context.Context, client providerv1.ProviderClient) error {
			asker := [2]any{ctx.Value(pointKey{}), ctx.Value(callerKey{})}
			task, ok := tasks.Load(asker)
			if !ok {
				resp, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", CustomizeJson: `{"hostname":"second"}`})
				if err != nil {
					return err
				}
				if resp.GetTargetVmId() != idOfWeb2 {
					return fmt.Errorf("the clone has the id %q", resp.GetTargetVmId())
				}
				task = resp.GetTask()
				tasks.Store(asker, task)
			}
			err := awaited(ctx, client, task.(*providerv1.TaskRef))
			if failed := taskFailed(""); errors.As(err, &failed) {
				tasks.Delete(asker)
			}
			return err
		},
	}
}

// deleteUnfinished deletes a full clone whose provider was dead when the NAS lost its copies.
var deleteUnfinished = operation{
	name: "Delete of a clone that is incomplete", rpcs: []string{"Delete"}, run: deleteVM(idOfWeb2),
	prepare: func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		withWeb1(t, client, nas)
		nas.Inject(sim.Fault{Method: "replication.run_onetime", Then: sim.Restart})
		if resp, err := client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2"}); err != nil || resp.GetTask() == nil {
			t.Fatalf("Clone: %v, %v", resp, err)
		}
	},
}

// imageOperation requests an image, polls its task, and makes a VM from it, as the manager does.
func imageOperation(t *testing.T) operation {
	web, _ := serveImage(t)
	return operation{name: "Image", rpcs: []string{"ImagePrepare", "TaskStatus", "Create"}, prepare: withNothing, run: fromImage(web.job(web.checksum()))}
}

// installerOperation is the same with an installer ISO.
func installerOperation(t *testing.T) operation {
	url := serveFiles(t, map[string][]byte{"installer.iso": installerISO()}) + "/installer.iso"
	return operation{name: "Installer", rpcs: []string{"ImagePrepare", "TaskStatus", "Create"}, prepare: withNothing,
		run: fromImage(fmt.Sprintf(`{"source":{"libvirt":{"url":%q}},"prepare":{"retries":0}}`, url))}
}

// nasFileOperation is the same with a file on the NAS.
func nasFileOperation(t *testing.T) operation {
	const file = "/mnt/tank/templates/gold.qcow2"
	content := sample(t, "v3.qcow2")
	put := func(t *testing.T, _ providerv1.ProviderClient, nas *sim.Sim) {
		if err := errors.Join(nas.AddDataset("tank/templates", nil), nas.WriteFile(file, content)); err != nil {
			t.Fatal(err)
		}
	}
	return operation{name: "Image on the NAS", rpcs: []string{"ImagePrepare", "TaskStatus", "Create"}, prepare: put, run: fromImage(libraryJob(file, ""))}
}

// fromImage prepares an image and makes a VM from it.
func fromImage(job string) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: job, TargetName: "gold"})
		if err != nil {
			return err
		}
		if err := awaited(ctx, client, resp.GetTask()); err != nil {
			return err
		}
		req := web1()
		req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
		made, err := client.Create(ctx, req)
		if err == nil && made.GetTask() != nil {
			err = errors.New("the image is still in preparation")
		}
		return err
	}
}

// diskOperations returns the exports to and imports from a depot.
func diskOperations(t *testing.T, depot *depot) []operation {
	content := sample(t, "v3.qcow2")
	depot.put(t, "s3", "staged", content)
	move := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.ImportDisk(ctx, depot.importOf("s3", "staged", "qcow2", "web-1", content))
		return err
	}
	list := []operation{
		{name: "ImportDisk", rpcs: []string{"ImportDisk"}, prepare: withNothing, run: move},
		{name: "Delete with an imported disk", rpcs: []string{"Delete"}, prepare: setting(withNothing).after(move, createWithImport), run: deleteVM(idOfWeb1)},
	}
	for _, format := range []string{"qcow2", "vmdk"} {
		var id string
		list = append(list, operation{name: "ExportDisk " + format, rpcs: []string{"ExportDisk"},
			prepare: func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
				id = exporter(t, client, nas, scattered(2<<20))
			},
			run: func(ctx context.Context, client providerv1.ProviderClient) error {
				_, err := client.ExportDisk(ctx, depot.exportOf(id, "s3", fmt.Sprint("export-", ctx.Value(pointKey{})), format))
				return err
			},
		})
	}
	return list
}

var bootOptions = []func(*server.Config){bootingNetwork}

// withBootISO makes a blank VM, and the image for network boot.
func withBootISO(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	if err := errors.Join(nas.AddDataset("tank/iso", nil), nas.AddFile(bootISO, bootBytes)); err != nil {
		t.Fatal(err)
	}
	if err := createBlank(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}
