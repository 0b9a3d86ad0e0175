package doctor

import (
	"context"
	"path"
	"strconv"
	"strings"
	"time"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// staging finds staged objects of processes without a recent heartbeat.
func (e *examination) staging() []Leftover {
	var found []Leftover
	staged := e.in(spec.StagingFolder)
	named := map[string]bool{} // uploads that belong to another staging dataset
	for _, d := range staged {
		named[d.LocalUserProperties[lease.PropUploads]] = true
	}
	for _, d := range staged {
		name := path.Base(d.ID)
		if e.beating(d) || named[d.ID] || name == doctorFolder {
			continue
		}
		kind, drop := "staged image", func(ctx context.Context) error { return e.doctor.leases.DropStaged(ctx, d) }
		switch {
		case strings.HasPrefix(name, lease.UploadFolder):
			kind = "staged upload"
		case strings.HasPrefix(name, diskio.ExportFolder):
			kind, drop = "interrupted export", func(ctx context.Context) error { return e.doctor.mover.DropExport(ctx, d) }
		case strings.HasPrefix(name, diskio.ImportStaging):
			kind = "staged import"
		case strings.HasPrefix(name, spec.PromoteFolder):
			kind = "interrupted Delete or full clone"
		}
		found = append(found, e.leftover(kind, d, drop))
	}
	return found
}

// beating reports whether a process uses, or may still use, a staging dataset. A restarted replica owns the datasets with its own
// instance name; doctor owns none, even under the same name.
func (e *examination) beating(staging truenas.Dataset) bool {
	millis, err := strconv.ParseInt(staging.LocalUserProperties[lease.PropBeat], 10, 64)
	if seen := e.by.beats[staging.ID]; err == nil && e.by.beats != nil && seen != staging.LocalUserProperties[lease.PropBeat] {
		return true // A recent heartbeat counts, whatever the worker's clock shows.
	}
	return err == nil && !time.UnixMilli(millis).Before(e.beaten)
}

// images finds datasets of images whose snapshot, the last step, was never taken.
func (e *examination) images() []Leftover {
	ready := map[string]bool{}
	for _, snap := range e.snaps {
		ready[snap.ID] = true
	}
	var found []Leftover
	for _, d := range e.in(spec.ImagesFolder) {
		if !ready[d.ID+"/disk@"+spec.ReadySnapshot] && !e.landing(e.doctor.layout.ImageStaging(d.ID)) {
			found = append(found, e.halfLanded(d)...)
		}
	}
	return found
}

// halfLanded reports an image without its snapshot. The record of the image's source stays on the NAS, because the manager may
// treat the image as prepared; a dataset with only that record is not a leftover.
func (e *examination) halfLanded(d truenas.Dataset) []Leftover {
	volume, landed := e.byID[d.ID+"/disk"]
	l := e.leftover("half-landed image", d, e.destroying(d.ID))
	switch again := d.LocalUserProperties[spec.PropSource] != ""; {
	case again && !landed:
		return nil
	case again:
		l.drop = e.destroying(volume.ID)
	case l.Keep == "" && landed && written(volume):
		l.Keep = "it contains data, and its source is not recorded; remove it by hand"
	}
	return []Leftover{l}
}

// imports finds unfinished imports. It also reports a finished import that no VM has attached, and keeps it, because the Create
// that attaches it may follow.
func (e *examination) imports() []Leftover {
	var found []Leftover
	for _, d := range e.in(spec.ImportsFolder) {
		if e.landing(e.doctor.layout.Root(spec.PoolOf(d.ID)) + spec.StagingFolder + diskio.ImportStaging + path.Base(d.ID)) {
			continue
		}
		if volume := e.byID[d.ID+"/disk"]; volume.LocalUserProperties[diskio.PropState] != diskio.StateReady {
			l := e.leftover("half-landed import", d, e.destroying(d.ID))
			if l.Keep == "" && volume.LocalUserProperties[diskio.PropFile] == "" && written(volume) {
				l.Keep = volume.ID + " contains data, and no import writes it; create its VM again to use it, or remove it by hand"
			}
			found = append(found, l)
			continue
		}
		if l := e.leftover("import without VM", d, nil); l.Keep == "" && !landing.Cloned(e.datasets, d.ID) {
			l.Keep = "a Create may be about to attach it"
			found = append(found, l)
		}
	}
	return found
}

// landing reports whether an image or an import with this staging dataset is in progress.
func (e *examination) landing(dataset string) bool {
	staging, ok := e.byID[dataset]
	return ok && (e.beating(staging) || !e.settled(staging.CreatedAt))
}

func (e *examination) destroying(dataset string) func(context.Context) error {
	return func(ctx context.Context) error { return destroy.Dataset(ctx, e.doctor.nas, dataset) }
}
