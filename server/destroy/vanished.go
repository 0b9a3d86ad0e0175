package destroy

import (
	"context"
	"errors"
	"fmt"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// vanished treats "does not exist" as success when the NAS does not list the object either. TrueNAS returns the same error
// when a mount point or a definition of its hypervisor is missing and the object itself still exists; that is [truenas.ErrBusy].
func vanished(err error, list func() (int, error)) error {
	if !errors.Is(err, truenas.ErrNotFound) {
		return err
	}
	switch n, failed := list(); {
	case failed != nil:
		return failed
	case n > 0:
		return fmt.Errorf("%w: TrueNAS reports that it does not exist (%w) and still lists it", truenas.ErrBusy, refusal.Hide(err))
	}
	return nil
}

// VM removes a VM's record. It succeeds when the record does not exist.
func VM(ctx context.Context, nas *truenas.Client, vm int64) error {
	return VMVanished(ctx, nas, vm, nas.VMs.Delete(ctx, vm, truenas.DeleteOptions{Force: true}))
}

// VMVanished treats "does not exist" as success when the NAS does not list the VM either.
func VMVanished(ctx context.Context, nas *truenas.Client, vm int64, err error) error {
	return vanished(err, func() (int, error) {
		list, err := nas.VMs.List(ctx, truenas.Where("id", vm))
		return len(list), err
	})
}

// Device removes a device. It succeeds when the device does not exist.
func Device(ctx context.Context, nas *truenas.Client, device int64) error {
	return vanished(nas.Devices.Delete(ctx, device, truenas.DeviceDelete{}), func() (int, error) {
		list, err := nas.Devices.List(ctx, truenas.Where("id", device))
		return len(list), err
	})
}

// SnapshotDeferred removes a snapshot now, or together with its last clone. An absent snapshot is success.
func SnapshotDeferred(ctx context.Context, nas *truenas.Client, id string) error {
	return deleteSnapshot(ctx, nas, id, truenas.SnapshotDelete{Defer: true})
}

// deleteSnapshot removes a snapshot. It succeeds when the snapshot does not exist.
func deleteSnapshot(ctx context.Context, nas *truenas.Client, id string, how truenas.SnapshotDelete) error {
	return vanished(nas.Snapshots.Delete(ctx, id, how), func() (int, error) {
		list, err := nas.Snapshots.List(ctx, truenas.Where("id", id))
		return len(list), err
	})
}
