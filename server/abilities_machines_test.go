package server_test

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func lifeAbilities() []ability {
	all := []ability{
		{rpc: "Validate", try: func(s *stand) error {
			got, err := s.client.Validate(background, &providerv1.ValidateRequest{})
			return answered(got.GetOk(), got, err)
		}},
		{rpc: "GetCapabilities", try: func(s *stand) error {
			_, err := s.client.GetCapabilities(background, &providerv1.GetCapabilitiesRequest{})
			return err
		}},
	}
	all = append(all, lists("Create", "disks", "supported_disk_types", []string{"thin", "thick", "eager_zero", "qcow2", "raw"}, func(s *stand, kind string) error {
		return s.create(func(r *providerv1.CreateRequest) {
			r.ClassJson = strings.Replace(r.ClassJson, "thin", kind, 1)
			r.DisksJson = fmt.Sprintf(`[{"SizeGiB":1,"Type":%q,"Name":"data"}]`, kind)
		})
	})...)
	networks := map[string]string{"bridge": `[{"Bridge":"br0"}]`, "vlan": `[{"Bridge":"br0","VLAN":20}]`}
	all = append(all, lists("Create", "networks", "supported_network_types", []string{"bridge", "vlan"}, func(s *stand, kind string) error {
		return s.create(func(r *providerv1.CreateRequest) { r.NetworksJson = networks[kind] })
	})...)
	return append(all,
		ability{rpc: "Create", what: "a root disk that is a clone of a snapshot", try: func(s *stand) error {
			return s.create(func(r *providerv1.CreateRequest) {
				r.ImageJson, r.ClassJson = `{"Path":"tank/templates/gold@v1"}`, strings.Replace(r.ClassJson, `"SizeGiB":1`, `"SizeGiB":10`, 1)
			})
		}},
		ability{rpc: "Create", what: "cloud-init data, static addresses", try: func(s *stand) error {
			return s.create(func(r *providerv1.CreateRequest) { r.UserData = []byte("#cloud-config\n{}\n") })
		}},
		ability{rpc: "Describe", try: func(s *stand) error {
			got, err := s.client.Describe(background, &providerv1.DescribeRequest{Id: s.off})
			return answered(got.GetExists(), got, err)
		}},
		ability{rpc: "ListVMs", try: func(s *stand) error {
			got, err := s.client.ListVMs(background, &providerv1.ListVMsRequest{})
			return answered(len(got.GetVms()) > 2, got, err)
		}},
		ability{rpc: "Power", ready: aMachine, try: powerEverywhere},
		ability{rpc: "TaskStatus", try: func(s *stand) error {
			got, err := s.client.TaskStatus(background, &providerv1.TaskStatusRequest{Task: &providerv1.TaskRef{Id: "unknown"}})
			return answered(got.GetDone(), got, err)
		}},
		ability{rpc: "Delete", ready: aMachine, try: func(s *stand) error {
			_, err := s.client.Delete(background, &providerv1.DeleteRequest{Id: s.vm})
			return err
		}},
	)
}

// powerEverywhere requests all power operations.
func powerEverywhere(s *stand) error {
	for _, op := range []providerv1.PowerOp{
		providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_REBOOT, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, providerv1.PowerOp_POWER_OP_OFF,
	} {
		got, err := s.client.Power(background, &providerv1.PowerRequest{Id: s.vm, Op: op, GracefulTimeoutSeconds: 1})
		if err := s.over(got.GetTask(), err); err != nil {
			return err
		}
	}
	return nil
}

// resized returns desired_json of a small VM with other sizes.
func resized(cpus, gib int) string {
	return fmt.Sprintf(`{"Class":{"CPU":%d,"MemoryMiB":256,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":%d}},"Networks":[{"Bridge":"br0"}]}`, cpus, gib)
}

func changeAbilities() []ability {
	reconfigure := func(machine func(*stand) string, desired string) func(*stand) error {
		return func(s *stand) error {
			_, err := s.client.Reconfigure(background, &providerv1.ReconfigureRequest{Id: machine(s), DesiredJson: desired})
			return err
		}
	}
	running := func(s *stand) string { return s.on }
	fresh := func(s *stand) string { return s.vm }
	clone := func(linked bool) func(*stand) error {
		return func(s *stand) error {
			got, err := s.client.Clone(background, &providerv1.CloneRequest{SourceVmId: s.off, TargetName: s.name(), Linked: linked})
			return s.over(got.GetTask(), err)
		}
	}
	snapshot := func(memory bool) func(*stand) error {
		return func(s *stand) error {
			_, err := s.client.SnapshotCreate(background, &providerv1.SnapshotCreateRequest{VmId: s.off, NameHint: s.name(), IncludeMemory: memory})
			return err
		}
	}
	return []ability{
		{rpc: "Reconfigure", what: "while the VM is off", ready: aMachine, try: reconfigure(fresh, resized(2, 2))},
		{rpc: "Reconfigure", what: "while it runs", flag: "supports_reconfigure_online", try: reconfigure(running, resized(2, 1))},
		{rpc: "Reconfigure", what: "disks while it runs", flag: "supports_disk_expansion_online", try: reconfigure(running, resized(1, 2))},
		{rpc: "Reconfigure", what: "for the next start, while it runs", flag: "supports_honest_reconfigure", try: func(s *stand) error {
			got, err := s.client.Reconfigure(background, &providerv1.ReconfigureRequest{Id: s.on, DesiredJson: fromLine04(resized(2, 1), owner04)})
			return answered(got.GetHonestResult() && got.GetRestartRequired(), got, err)
		}},
		{rpc: "SnapshotCreate", flag: "supports_snapshots", try: snapshot(false)},
		{rpc: "SnapshotCreate", what: "with memory", flag: "supports_memory_snapshots", try: snapshot(true)},
		{rpc: "SnapshotRevert", flag: "supports_snapshots", ready: aSnapshot, try: func(s *stand) error {
			_, err := s.client.SnapshotRevert(background, &providerv1.SnapshotRevertRequest{VmId: s.off, SnapshotId: s.snapshot})
			return err
		}},
		{rpc: "SnapshotDelete", flag: "supports_snapshots", ready: aSnapshot, try: func(s *stand) error {
			_, err := s.client.SnapshotDelete(background, &providerv1.SnapshotDeleteRequest{VmId: s.off, SnapshotId: s.snapshot})
			return err
		}},
		{rpc: "Clone", what: "linked", flag: "supports_linked_clones", try: clone(true)},
		{rpc: "Clone", what: "full", try: clone(false)},
	}
}

func hostAbilities() []ability {
	return []ability{
		{rpc: "HardwareUpgrade", try: func(s *stand) error {
			_, err := s.client.HardwareUpgrade(background, &providerv1.HardwareUpgradeRequest{Id: s.off, TargetVersion: 21})
			return err
		}},
		{rpc: "ListHosts", flag: "supports_clustering", try: func(s *stand) error {
			_, err := s.client.ListHosts(background, &providerv1.ListHostsRequest{})
			return err
		}},
		{rpc: "GetHostInfo", flag: "supports_clustering", try: func(s *stand) error {
			_, err := s.client.GetHostInfo(background, &providerv1.GetHostInfoRequest{HostId: "h"})
			return err
		}},
		{rpc: "TransferOwner", flag: "supports_routed_adoption", try: func(s *stand) error {
			_, err := s.client.TransferOwner(background, &providerv1.TransferOwnerRequest{Id: s.off, Owner: &providerv1.ObjectIdentity{Uid: "u"}})
			return err
		}},
		{rpc: "Clone", what: "to another host", flag: "supports_routed_clone", try: func(s *stand) error {
			_, err := s.client.Clone(background, &providerv1.CloneRequest{SourceVmId: s.off, TargetName: s.name(), Linked: true, TargetHostId: "h"})
			return err
		}},
		{rpc: "ListVMs", what: "those of one owner", flag: "supports_list_owner_filter", try: func(s *stand) error {
			got, err := s.client.ListVMs(background, &providerv1.ListVMsRequest{OwnerNamespace: "team-a", OwnerName: "web"})
			if err == nil && !got.GetOwnerFilterApplied() {
				return status.Error(codes.Unimplemented, "the answer says that the filter was not applied")
			}
			return err
		}},
	}
}
