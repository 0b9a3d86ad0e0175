package server

import (
	"context"
	"strconv"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// ListVMs lists every VM on the NAS, including those made by hand, because the manager adopts from the list. It makes two
// calls for any number of VMs. A VM in an unknown state is listed with that state in its raw data.
func (s *Server) ListVMs(ctx context.Context, _ *providerv1.ListVMsRequest) (*providerv1.ListVMsResponse, error) {
	var vms []truenas.VM
	var disks []truenas.Dataset
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { vms, err = s.inventory.List(ctx); return })
	g.Go(func() (err error) {
		disks, err = inventory.Share(ctx, &s.flight, "volumes", func(ctx context.Context) ([]truenas.Dataset, error) {
			list, err := s.nas.Datasets.List(ctx, truenas.AnyOf(truenas.Where("type", truenas.Volume), truenas.Cond("id", "~", s.layout.VMsPattern())))
			if err == nil {
				s.marks.Learn(list)
			}
			return list, err
		})
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(disks))
	for _, d := range disks {
		sizes[d.ID] = d.VolsizeBytes
	}
	resp := &providerv1.ListVMsResponse{Vms: make([]*providerv1.VMInfo, 0, len(vms))}
	for _, vm := range vms {
		if vm.UUID != "" {
			resp.Vms = append(resp.Vms, s.info(vm, sizes))
		}
	}
	return resp, nil
}

func (s *Server) info(vm truenas.VM, sizes map[string]int64) *providerv1.VMInfo {
	power, _ := s.powerState(vm) // An unknown state is an empty string here; the raw data has details.
	info := &providerv1.VMInfo{
		Id: vm.UUID, Name: s.marks.Name(vm), PowerState: power, Ips: s.addresses.Of(vm, vmrecord.MACs(vm), false),
		Cpu: int32(vmrecord.CPUs(vm)), MemoryMib: vm.MemoryMiB, ProviderRaw: s.raw(vm), //nolint:gosec // TrueNAS allows 255 CPUs.
	}
	for _, d := range vm.Devices {
		switch d.Attributes.DType {
		case truenas.DeviceDisk, truenas.DeviceRaw:
			info.Disks = append(info.Disks, &providerv1.DiskInfo{
				Id: strconv.FormatInt(d.ID, 10), Path: d.Attributes.Path, Format: "raw",
				SizeGib: int32((sizes[spec.VolumeOf(d.Attributes.Path)] + spec.GiB - 1) / spec.GiB), //nolint:gosec // A disk of 2^31 GiB is beyond ZFS.
			})
		case truenas.DeviceNIC:
			info.Networks = append(info.Networks, &providerv1.NetworkInfo{Name: d.Attributes.NICAttach, Mac: vmrecord.MAC(d)})
		}
	}
	return info
}
