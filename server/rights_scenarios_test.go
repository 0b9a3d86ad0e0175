package server_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
)

// scenario is a use of a feature: the preparation by an administrator's provider, and the calls that have to succeed with exactly the
// roles of the feature.
type scenario struct {
	name     string
	runs     bool   // the prepared VM runs
	clone    bool   // it has a linked clone
	network  bool   // it boots the network at its next start
	snapshot bool   // another client has taken a snapshot of its root disk
	spares   string // a role of the feature that this use does not need
	play     func(ctx context.Context, s *scenarioEnv) error
	options  []func(*server.Config)
}

// scenarioEnv is the environment of a scenario.
type scenarioEnv struct {
	client providerv1.ProviderClient // with the roles of the feature
	admin  providerv1.ProviderClient // with all roles, for the preparation
	nas    *sim.Sim
	depot  *depot
	web    *imageServer
	iso    string // the URL of an ISO
	id     string // web-1, which has no seed
	staged []byte // an image in the depot

	options []func(*server.Config) // of the scenario
}

// plain returns a VM from a snapshot without a seed.
func plain(name string) *providerv1.CreateRequest {
	req := wanted(name)
	req.UserData, req.NetworksJson, req.ImageJson = nil, `[{"Bridge":"br0"}]`, `{"Path":"tank/templates/gold@v1"}`
	return req
}

// scenarios are the uses of each feature.
func scenarios() map[string][]scenario {
	return map[string][]scenario{
		"See VMs":              seeScenarios(),
		"View disks":           {{name: "GetDiskInfo", play: diskInfoScenario}},
		"Power VMs on and off": powerScenarios(),
		"Power on VMs that boot the network or a CD-ROM": {{name: "on", network: true, play: powerScenario(providerv1.PowerOp_POWER_OP_ON)}},
		"Insert ISOs on the NAS":                         {{name: "insert, eject", play: mediaScenario}},
		"Delete VMs":                                     {{name: "Delete of a VM that runs and has a snapshot", runs: true, snapshot: true, play: deleteScenario}},
		"Create and reconfigure VMs": {
			{name: "Create", play: createScenario(``, `[{"Bridge":"br0"}]`)},
			{name: "Reconfigure", play: reconfigureScenario},
		},
		"Create VMs from images and snapshots on the NAS": {{name: "Create", play: createScenario(`{"Path":"tank/templates/gold@v1"}`, `[{"Bridge":"br0"}]`)}},
		"Networks with a VLAN tag":                        {{name: "Create", play: createScenario(``, `[{"Bridge":"br20","VLAN":20}]`)}},
		"Snapshots":                                       {{name: "create, revert, delete", play: snapshotScenario}},
		"Linked clones, and Delete of clones and their sources": {
			{name: "Clone", play: cloneScenario(true)},
			{name: "Delete of the source", clone: true, play: deleteScenario},
		},
		"Full clones":                          {{name: "Clone", play: cloneScenario(false)}},
		"Cloud-init data and static addresses": {{name: "Create", play: seedScenario}},
		"Images from URLs": {
			{name: "ImagePrepare and a VM of it", play: imageScenario},
			{name: "Create with a URL", play: imageURLScenario},
			{name: "media of a URL", play: mediaURLScenario},
		},
		"Export and import of disks": {
			{name: "ExportDisk", play: exportScenario},
			{name: "ImportDisk", play: importScenario},
		},
		"Choose the pool of VMs and images": {{name: "Create", play: chooseScenario, options: choiceOptions}},
		"Choose the pool by its kind":       {{name: "Create", play: chooseScenario, options: []func(*server.Config){choosingBy(`kind != "flash"`)}}},
	}
}

func seeScenarios() []scenario {
	return []scenario{
		{name: "Describe", play: func(ctx context.Context, s *scenarioEnv) error {
			vm, err := s.client.Describe(ctx, &providerv1.DescribeRequest{Id: s.id})
			if err == nil && !vm.GetExists() {
				err = errors.New("it is not seen")
			}
			return err
		}},
		{name: "ListVMs", play: func(ctx context.Context, s *scenarioEnv) error {
			list, err := s.client.ListVMs(ctx, &providerv1.ListVMsRequest{})
			if err == nil && (len(list.GetVms()) != 1 || len(list.GetVms()[0].GetDisks()) != 2) {
				err = errors.New("it is not listed whole")
			}
			return err
		}},
		{name: "Validate", spares: "VM_READ", play: func(ctx context.Context, s *scenarioEnv) error {
			answer, err := s.client.Validate(ctx, &providerv1.ValidateRequest{})
			if err == nil && !answer.GetOk() {
				err = status.Error(codes.PermissionDenied, answer.GetMessage())
			}
			return err
		}},
	}
}

func diskInfoScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.GetDiskInfo(ctx, &providerv1.GetDiskInfoRequest{VmId: s.id})
	return err
}

func createScenario(imageJSON, networksJSON string) func(context.Context, *scenarioEnv) error {
	return func(ctx context.Context, s *scenarioEnv) error {
		req := plain("web-2")
		req.ImageJson, req.NetworksJson = imageJSON, networksJSON
		_, err := s.client.Create(ctx, req)
		return err
	}
}

func deleteScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.Delete(ctx, &providerv1.DeleteRequest{Id: s.id})
	return err
}

func powerScenario(ops ...providerv1.PowerOp) func(context.Context, *scenarioEnv) error {
	return func(ctx context.Context, s *scenarioEnv) error {
		for _, op := range ops {
			answer, err := s.client.Power(ctx, &providerv1.PowerRequest{Id: s.id, Op: op, GracefulTimeoutSeconds: 5})
			if err != nil {
				return err
			}
			if err := over(ctx, s.client, answer.GetTask()); err != nil {
				return err
			}
		}
		return nil
	}
}

func powerScenarios() []scenario {
	return []scenario{
		{name: "on and off", play: powerScenario(providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_OFF)},
		{name: "reboot", runs: true, play: powerScenario(providerv1.PowerOp_POWER_OP_REBOOT)},
		{name: "graceful shutdown", runs: true, play: powerScenario(providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)},
	}
}

func reconfigureScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: s.id, DesiredJson: `{"Name":"web-1",
		"Class":{"CPU":4,"MemoryMiB":4096,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":30}},"Networks":[{"Bridge":"br0"}],
		"Disks":[{"SizeGiB":6,"Type":"thin","Name":"data"},{"SizeGiB":1,"Type":"thin","Name":"more"}]}`})
	return err
}

func snapshotScenario(ctx context.Context, s *scenarioEnv) error {
	made, err := s.client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: s.id, NameHint: "before"})
	if err != nil {
		return err
	}
	if _, err := s.client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: s.id, SnapshotId: made.GetSnapshotId()}); err != nil {
		return err
	}
	_, err = s.client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: s.id, SnapshotId: made.GetSnapshotId()})
	return err
}

func cloneScenario(linked bool) func(context.Context, *scenarioEnv) error {
	return func(ctx context.Context, s *scenarioEnv) error {
		_, err := s.client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: s.id, TargetName: "web-2", Linked: linked})
		return err
	}
}

func seedScenario(ctx context.Context, s *scenarioEnv) error {
	req := wanted("web-2")
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	_, err := s.client.Create(ctx, req)
	return err
}

func imageScenario(ctx context.Context, s *scenarioEnv) error {
	answer, err := s.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: "img", ImageJson: s.web.job(s.web.checksum())})
	if err != nil {
		return err
	}
	if err := over(ctx, s.client, answer.GetTask()); err != nil {
		return err
	}
	req := plain("web-2")
	req.ImageJson = `{"Path":"` + answer.GetPreparedImagePath() + `"}`
	_, err = s.client.Create(ctx, req)
	return err
}

func imageURLScenario(ctx context.Context, s *scenarioEnv) error {
	req := plain("web-2")
	req.ImageJson = fmt.Sprintf(`{"URL":%q}`, s.web.URL+"/disk.raw.gz")
	for {
		answer, err := s.client.Create(ctx, req)
		if err != nil || answer.GetTask().GetId() == "" {
			return err
		}
		if err := over(ctx, s.client, answer.GetTask()); err != nil {
			return err
		}
	}
}

func mediaScenario(ctx context.Context, s *scenarioEnv) error {
	for _, iso := range []string{mediaISO, "none"} {
		if err := askMediaOf(ctx, s, iso); err != nil {
			return err
		}
	}
	return nil
}

func mediaURLScenario(ctx context.Context, s *scenarioEnv) error {
	return askMediaOf(ctx, s, s.iso)
}

func askMediaOf(ctx context.Context, s *scenarioEnv, iso string) error {
	for {
		answer, err := s.client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: s.id, DesiredJson: fmt.Sprintf(`{"Class":{"ExtraConfig":{"truenas.io/media":%q}}}`, iso)})
		if err != nil || answer.GetTask().GetId() == "" {
			return err
		}
		if err := over(ctx, s.client, answer.GetTask()); err != nil {
			return err
		}
	}
}

func exportScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.ExportDisk(ctx, &providerv1.ExportDiskRequest{
		VmId: s.id, DestinationUrl: s.depot.url("pvc", "export.qcow2"), Format: "qcow2", BackendType: "pvc", TransferMode: "auto",
	})
	return err
}

func importScenario(ctx context.Context, s *scenarioEnv) error {
	_, err := s.client.ImportDisk(ctx, s.depot.importOf("pvc", "v3.qcow2", "qcow2", "moved", s.staged))
	return err
}

// over polls a task until it is done.
func over(ctx context.Context, client providerv1.ProviderClient, task *providerv1.TaskRef) error {
	for task.GetId() != "" {
		answer, err := client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		if err != nil || answer.GetDone() {
			return err
		}
	}
	return nil
}

// prepared prepares the environment of a scenario.
func prepared(t *testing.T, s *scenarioEnv, scenario scenario) {
	t.Helper()
	addImage(t, s.nas)
	if err := s.nas.AddFile(mediaISO, mediaSize); err != nil {
		t.Fatal(err)
	}
	made, err := s.admin.Create(t.Context(), plain("web-1"))
	if err != nil {
		t.Fatal(err)
	}
	s.id = made.GetId()
	s.staged = sample(t, "v3.qcow2")
	s.depot.put(t, "pvc", "v3.qcow2", s.staged)
	if scenario.runs {
		if _, err := s.admin.Power(t.Context(), &providerv1.PowerRequest{Id: s.id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
			t.Fatal(err)
		}
	}
	if scenario.network {
		if err := errors.Join(s.nas.AddDataset("tank/iso", nil), s.nas.AddFile(bootISO, bootBytes), setBoot("boot_once", "network")(t.Context(), s.admin)); err != nil {
			t.Fatal(err)
		}
	}
	if scenario.snapshot {
		if err := s.nas.AddSnapshot("tank/virtrigaud/vms/web_1/root@auto-2026-11-28_01-00"); err != nil {
			t.Fatal(err)
		}
	}
	if scenario.clone {
		if _, err := s.admin.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: s.id, TargetName: "web-3", Linked: true}); err != nil {
			t.Fatal(err)
		}
	}
}
