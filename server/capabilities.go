package server

import (
	"context"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"github.com/projectbeskar/virtrigaud/sdk/provider/capabilities"
)

// GetCapabilities advertises what this provider does, and nothing else.
func (s *Server) GetCapabilities(ctx context.Context, req *providerv1.GetCapabilitiesRequest) (*providerv1.GetCapabilitiesResponse, error) {
	offered := capabilities.NewBuilder().Core().TaskStatus().ImageImport().Reconfigure().Snapshots().LinkedClones().
		DiskTypes(capabilities.DiskTypeThin, capabilities.DiskTypeThick).
		NetworkTypes(capabilities.NetworkTypeBridge, capabilities.NetworkTypeVLAN).
		Build()
	return offered.GetCapabilities(ctx, req)
}
