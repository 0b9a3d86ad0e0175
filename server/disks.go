package server

import (
	"context"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// ImportDisk lands a staged disk as a volume that the next Create attaches. See [diskio.Mover.Import].
func (s *Server) ImportDisk(ctx context.Context, req *providerv1.ImportDiskRequest) (*providerv1.ImportDiskResponse, error) {
	return s.mover.Import(ctx, req)
}

// ExportDisk writes a disk to a staging URL. See [diskio.Mover.Export].
func (s *Server) ExportDisk(ctx context.Context, req *providerv1.ExportDiskRequest) (*providerv1.ExportDiskResponse, error) {
	return s.mover.Export(ctx, req)
}

// GetDiskInfo reports the size and the history of a disk. See [diskio.Mover.Info].
func (s *Server) GetDiskInfo(ctx context.Context, req *providerv1.GetDiskInfoRequest) (*providerv1.GetDiskInfoResponse, error) {
	return s.mover.Info(ctx, req)
}
