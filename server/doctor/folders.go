package doctor

import (
	"context"
	"errors"
	"slices"

	"virtrigaud-provider-truenas/truenas"
)

// strayFolders lists the folders in the tree that block the creation of a dataset. It returns none when the key may not list
// folders.
func (r *Doctor) strayFolders(ctx context.Context, datasets map[string]truenas.Dataset) ([]string, error) {
	var stray []string
	for _, d := range datasets {
		if !r.layout.HoldsDatasets(d.ID) || d.Mountpoint == "" || d.Locked {
			continue
		}
		names, err := r.nas.Files.Folders(ctx, d.Mountpoint)
		switch {
		case errors.Is(err, truenas.ErrPermission):
			return nil, nil
		case errors.Is(err, truenas.ErrNotFound):
			continue // The dataset is not mounted.
		case err != nil:
			return nil, err
		}
		for _, name := range names {
			if _, ok := datasets[d.ID+"/"+name]; !ok {
				stray = append(stray, d.Mountpoint+"/"+name)
			}
		}
	}
	slices.Sort(stray)
	return stray, nil
}

// folders reports blocking folders, which an administrator has to remove.
func (e *examination) folders() []Leftover {
	var found []Leftover
	for _, folder := range e.stray {
		found = append(found, Leftover{Kind: "folder", Where: folder, Keep: "left by a late upload; it blocks the dataset of that name: remove it in the shell of the NAS"})
	}
	return found
}
