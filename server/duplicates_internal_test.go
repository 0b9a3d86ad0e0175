package server

import (
	"reflect"
	"testing"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// TestDevicesStayInBootOrder: devices are made in parallel, so that the root disk may have been made last. Describe lists them in
// boot order nevertheless, from the record that Create leaves in the cache.
func TestDevicesStayInBootOrder(t *testing.T) {
	t.Parallel()
	disk := func(id int64, order int, volume string) truenas.Device {
		return truenas.Device{ID: id, Order: order, Attributes: truenas.Disk("/dev/zvol/tank/" + volume)}
	}
	vm := truenas.VM{Devices: []truenas.Device{disk(9, hardware.OrderRoot, "root"), disk(3, hardware.OrderDisk, "data"), {ID: 1, Order: hardware.OrderNIC, Attributes: truenas.NIC("br0", "02:00:00:00:00:01", "VIRTIO")}}}
	got, err := dropDuplicateNICs(t.Context(), nil, vm)
	if err != nil || !reflect.DeepEqual(got, vm) || !vmrecord.InOrder(got, []string{"tank/root", "tank/data"}) {
		t.Errorf("got %+v, %v", got.Devices, err)
	}
}
