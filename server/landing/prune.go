package landing

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// PruneEvery is the interval of the searches for unused images.
const PruneEvery = time.Hour

// UnusedImage is an image that no VM is a clone of.
type UnusedImage struct {
	Dataset   string
	Name      string
	LastUsed  time.Time
	UsedBytes int64
}

// Prune removes the volumes of this provider's images that have had no clones for a time; with dry it only lists them. The
// record of an image's source stays in its dataset: the manager calls ImagePrepare once, so a later Create prepares a
// missing image again. Prune never removes an image that cannot be prepared again because its source may contain a secret.
// It decides by the state of the NAS alone, so that images do not look unused after a restart. An image that a VM is created
// from meanwhile stays: Prune destroys its snapshot first, which ZFS refuses as soon as a clone exists.
func (p *Images) Prune(ctx context.Context, unusedFor time.Duration, dry bool) ([]UnusedImage, error) {
	if err := p.lander.claims.Admit(ctx); err != nil {
		return nil, err
	}
	unused, err := p.unusedImages(ctx, unusedFor, dry)
	if err != nil || dry {
		return unused, err
	}
	var removed []UnusedImage
	for _, i := range unused {
		err := destroy.Dataset(ctx, p.lander.nas, i.Dataset+"/disk")
		if err != nil && p.cfg.Conflict(err) {
			p.cfg.Log.Info("kept an image that is in use again", zap.String("image", i.Name), zap.String("dataset", i.Dataset), zap.Error(err))
			continue
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, i)
		p.cfg.Log.Info("removed an unused image", zap.String("image", i.Name), zap.String("dataset", i.Dataset), zap.Time("last_used", i.LastUsed))
	}
	return removed, nil
}

func (p *Images) unusedImages(ctx context.Context, unusedFor time.Duration, dry bool) ([]UnusedImage, error) {
	var datasets []truenas.Dataset
	var vms []truenas.VM
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { datasets, err = p.lander.nas.Datasets.List(gctx); return })
	g.Go(func() (err error) { vms, err = p.lander.nas.VMs.List(gctx); return })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	images := regexp.MustCompile("^[^/]+" + regexp.QuoteMeta(strings.TrimPrefix(p.cfg.Layout.Dataset, p.cfg.Layout.Pool())+spec.ImagesFolder) + "[^/]+$")
	var unused []UnusedImage
	for _, d := range datasets {
		if !images.MatchString(d.ID) || d.LocalUserProperties[spec.PropProvider] != p.cfg.Provider || p.busyImage(d.ID) {
			continue
		}
		used, err := time.Parse(time.RFC3339, d.LocalUserProperties[spec.PropUsed])
		if inUse := Cloned(datasets, d.ID) || len(vmrecord.UsersOf(vms, d.ID, -1)) > 0; inUse && !dry && time.Since(used) > PruneEvery/2 {
			// The time counts from the deletion of the last clone, also when another client deleted it.
			if err := p.lander.Touch(ctx, d.ID); err != nil {
				return nil, err
			}
			continue
		} else if inUse || err != nil || time.Since(used) < unusedFor || p.staged(datasets, d.ID) {
			continue // When in doubt, keep the image.
		}
		volume := slices.IndexFunc(datasets, func(v truenas.Dataset) bool { return v.ID == d.ID+"/disk" })
		if i := (spec.Image{}); volume < 0 || !p.Resumable(&i, State{Dataset: &d}) {
			continue
		}
		unused = append(unused, UnusedImage{Dataset: d.ID, Name: d.LocalUserProperties[spec.PropName], LastUsed: used, UsedBytes: d.UsedBytes})
	}
	return unused, nil
}

func (p *Images) busyImage(dataset string) bool {
	running, _ := p.work.Peek(dataset)
	return running
}

// Cloned reports whether any dataset is a clone of an object in a dataset.
func Cloned(all []truenas.Dataset, dataset string) bool {
	for _, d := range all {
		if origin, _, _ := strings.Cut(d.Origin, "@"); origin != "" && spec.InTree(origin, dataset) {
			return true
		}
	}
	return false
}

// staged reports whether a replica prepares the image.
func (p *Images) staged(all []truenas.Dataset, image string) bool {
	staging := p.cfg.Layout.ImageStaging(image)
	return slices.ContainsFunc(all, func(d truenas.Dataset) bool { return d.ID == staging })
}
