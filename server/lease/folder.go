package lease

import (
	"context"
	"errors"
	"fmt"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// InTheWay explains "already exists" of a dataset that does not exist: a folder lies at its mount point. TrueNAS creates the
// missing folders of an upload, so an upload after the destruction of its dataset leaves such a folder, and no call removes
// it. InTheWay returns any other error unchanged.
func InTheWay(ctx context.Context, nas *truenas.Client, dataset string, err error) error {
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	if blocked := FolderFor(ctx, nas, dataset); blocked != nil {
		return blocked
	}
	return err
}

// FolderFor returns a refusal if a folder blocks the path of a dataset, or nil.
func FolderFor(ctx context.Context, nas *truenas.Client, dataset string) error {
	if _, missing := nas.Datasets.Get(ctx, dataset); !errors.Is(missing, truenas.ErrNotFound) {
		return nil
	}
	folder := "/mnt/" + dataset
	if _, missing := nas.Files.Stat(ctx, folder); missing != nil {
		return nil // The dataset existed a moment ago.
	}
	return refusal.FailedPrecondition("creation of dataset %s failed: a late upload left the folder %s in its place; inspect the folder and remove it in the shell of the NAS", dataset, folder)
}

// Uploadable refuses to upload into a dataset that does not exist any more: the upload would leave a folder in its place.
func Uploadable(ctx context.Context, nas *truenas.Client, dataset string) error {
	_, err := nas.Datasets.Get(ctx, dataset)
	if errors.Is(err, truenas.ErrNotFound) {
		return fmt.Errorf("dataset %s was destroyed before the upload into it: %w", dataset, err)
	}
	return err
}
