package server

import (
	"context"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/doctor"
	"virtrigaud-provider-truenas/server/refusal"
)

// The RPCs of disks are those of [diskio.Mover], and leftovers are found by [doctor.Doctor].

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

// Leftover is an object on the NAS that carries this provider's mark and belongs to no VM.
type Leftover = doctor.Leftover

// Leftovers lists the remains of interrupted calls and lost VMs on the NAS. See [doctor.Doctor.Leftovers].
func (s *Server) Leftovers(ctx context.Context, settled time.Duration) ([]Leftover, error) {
	return s.doctor.Leftovers(ctx, settled)
}

// RemoveLeftovers removes the entries of Leftovers, except for those with a reason to keep them. See [doctor.Doctor.Remove].
func (s *Server) RemoveLeftovers(ctx context.Context, settled time.Duration) (removed []Leftover, err error) {
	return s.doctor.Remove(ctx, settled)
}

// removeLeftover removes a VM as Delete does, with the same refusals, unless its record was added or removed since doctor looked.
func (s *Server) removeLeftover(ctx context.Context, id string, recorded bool) error {
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := s.removal(ctx, id)
	if err != nil {
		return err
	}
	if (r.vm != nil) != recorded {
		return refusal.FailedPrecondition("another client is changing it")
	}
	return s.remove(ctx, r)
}
