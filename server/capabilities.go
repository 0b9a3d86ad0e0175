package server

import (
	"context"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"github.com/projectbeskar/virtrigaud/sdk/provider/capabilities"

	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/settings"
)

// GetCapabilities advertises what this provider supports with this NAS and this key. Before the first connection to the NAS it
// returns an error, because the capabilities are unknown and the manager caches the response.
func (s *Server) GetCapabilities(ctx context.Context, _ *providerv1.GetCapabilitiesRequest) (*providerv1.GetCapabilitiesResponse, error) {
	if err := s.health.check(ctx); err != nil && s.nas.Release().IsZero() {
		return nil, err
	}
	announce(ctx, headerExtensions, extensions)
	announce(ctx, headerSettings, strings.Join(settings.Names(), ","))
	s.announceMemory(ctx)
	return s.offered(ctx)
}

// offered returns the capabilities as far as they are known without a call to the NAS.
func (s *Server) offered(ctx context.Context) (*providerv1.GetCapabilitiesResponse, error) {
	offered := capabilities.NewBuilder().Core().TaskStatus()
	for _, o := range []struct {
		feature feature
		offer   func()
	}{
		{makeVMs, func() { s.offerVMs(offered) }},
		{snapshotVMs, func() { offered.Snapshots() }},
		{cloneVMs, func() { offered.LinkedClones() }},
		{fetchImages, func() { offered.ImageImport().ImageArtifactIdentity() }},
		{moveDisks, func() { s.offerMigration(offered) }},
	} {
		if s.may(o.feature) {
			o.offer()
		}
	}
	return offered.Build().GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{})
}

// offerVMs advertises the features of VMs.
func (s *Server) offerVMs(offered *capabilities.Builder) {
	networks := []string{capabilities.NetworkTypeBridge}
	if s.may(tagNetworks) {
		networks = append(networks, capabilities.NetworkTypeVLAN)
	}
	offered.Reconfigure().HonestReconfigure().DiskTypes(capabilities.DiskTypeThin, capabilities.DiskTypeThick).NetworkTypes(networks...)
}

// offerMigration advertises disk import and export. The manager mounts a PersistentVolumeClaim for a migration; the operator
// of the provider has to mount an NFS export.
func (s *Server) offerMigration(offered *capabilities.Builder) {
	backends := []string{"s3", "pvc"}
	if s.opener.NFSMounted() {
		backends = append(backends, "nfs")
	}
	offered.DiskImport(diskio.ImportFormats...).DiskExport(diskio.ExportFormats...).ExportCompression().
		ImportBackends(backends...).ExportBackends(backends...).TransferModes(diskio.TransferModes...)
}
