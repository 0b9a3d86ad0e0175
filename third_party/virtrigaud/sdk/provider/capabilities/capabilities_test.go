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
		NetworkTypes(NetworkTypeBridge, NetworkTypeVLAN).Build()
	got, err := m.GetCapabilities(t.Context(), nil)
	want := &providerv1.GetCapabilitiesResponse{
		SupportsReconfigureOnline: true, SupportsDiskExpansionOnline: true, SupportsSnapshots: true, SupportsMemorySnapshots: true,
		SupportsLinkedClones: true, SupportsImageImport: true, SupportedDiskTypes: []string{"thin"},
		SupportedNetworkTypes: []string{"bridge", "vlan"}, SupportsDiskExport: true, SupportsDiskImport: true,
		SupportedExportFormats: []string{"qcow2"}, SupportedImportFormats: []string{"raw", "vmdk"}, SupportsExportCompression: true,
		SupportedExportBackends: []string{"s3"}, SupportedImportBackends: []string{"nfs"}, SupportedTransferModes: []string{"relay"},
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
