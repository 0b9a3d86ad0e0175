package capabilities

import (
	"reflect"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"google.golang.org/protobuf/proto"
)

func TestCapabilitiesReachTheWire(t *testing.T) {
	m := NewBuilder().Core().Snapshots().MemorySnapshots().LinkedClones().ImageImport().Reconfigure().OnlineReconfigure().
		OnlineDiskExpansion().TaskStatus().DiskExport("qcow2").DiskImport("raw", "vmdk").ExportCompression().
		ExportBackends("s3").ImportBackends("nfs").TransferModes("relay").QEMU().DiskTypes(DiskTypeThin).
		NetworkTypes(NetworkTypeBridge, NetworkTypeVLAN).Clustering().ImageArtifactIdentity().HonestReconfigure().Build().
		AddCapability(CapabilityRoutedAdoption).AddCapability(CapabilityListOwnerFilter)
	got, err := m.GetCapabilities(t.Context(), nil)
	want := &providerv1.GetCapabilitiesResponse{
		SupportsReconfigureOnline: true, SupportsDiskExpansionOnline: true, SupportsSnapshots: true, SupportsMemorySnapshots: true,
		SupportsLinkedClones: true, SupportsImageImport: true, SupportedDiskTypes: []string{"thin"},
		SupportedNetworkTypes: []string{"bridge", "vlan"}, SupportsDiskExport: true, SupportsDiskImport: true,
		SupportedExportFormats: []string{"qcow2"}, SupportedImportFormats: []string{"raw", "vmdk"}, SupportsExportCompression: true,
		SupportedExportBackends: []string{"s3"}, SupportedImportBackends: []string{"nfs"}, SupportedTransferModes: []string{"relay"},
		SupportsClustering: true, SupportsImageArtifactIdentity: true, SupportsHonestReconfigure: true, SupportsRoutedAdoption: true,
		SupportsListOwnerFilter: true,
	}
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v %v, want %v", got, err, want)
	}
}

func TestProfiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    *Manager
		want []Profile
	}{
		{"nothing", NewManager(), nil},
		{"the core", NewBuilder().Core().Build(), []Profile{ProfileCore}},
		{"the core without power", NewBuilder().Core().Build().RemoveCapability(CapabilityPower), nil},
		{"snapshots", NewBuilder().Core().Snapshots().Build(), []Profile{ProfileCore, ProfileSnapshot}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.m.GetSupportedProfiles(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if NewManager().SupportsProfile("unheard of") {
		t.Error("an unknown profile is supported")
	}
}

func TestHonestReconfigureResponse(t *testing.T) {
	for _, tt := range []struct {
		name    string
		task    string
		restart bool
		want    *providerv1.TaskResponse
	}{
		{"applied", "", false, &providerv1.TaskResponse{HonestResult: true}},
		{"recorded for the next start", "", true, &providerv1.TaskResponse{HonestResult: true, RestartRequired: true}},
		{"a task", "job/1", false, &providerv1.TaskResponse{HonestResult: true, Task: &providerv1.TaskRef{Id: "job/1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := HonestReconfigureResponse(tt.task, tt.restart); !proto.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
