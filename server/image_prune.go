package server

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// usedAge is how old the note of an image's last use may grow before a Create renews it.
const usedAge = 24 * time.Hour

// UnusedImage is an image that no VM is a clone of.
type UnusedImage struct {
	Dataset   string
	Name      string
	LastUsed  time.Time
	UsedBytes int64
}

// PruneImages removes the volumes of this provider's images that have had no clones for a time; with dry it only says which. What
// an image is made of stays in its dataset: the manager asks once for an image and believes that it is there, so the Create that
// finds it gone has it made again. An image that cannot be made again, because its source may hold a secret, is never removed.
// It decides by what the NAS says and by nothing else, so that a
// restart does not make images look unused. An image of which a VM is made meanwhile stays: its
// snapshot is destroyed first, which ZFS refuses as soon as it has a clone.
func (s *Server) PruneImages(ctx context.Context, unusedFor time.Duration, dry bool) ([]UnusedImage, error) {
	if err := s.claims.Admit(ctx); err != nil {
		return nil, err
	}
	unused, err := s.unusedImages(ctx, unusedFor, dry)
	if err != nil || dry {
		return unused, err
	}
	var removed []UnusedImage
	for _, i := range unused {
		err := destroy.Dataset(ctx, s.nas, i.Dataset+"/disk")
		if code, _ := verdict(err); err != nil && (code == codes.FailedPrecondition || code == codes.Aborted) {
			s.log.Info("kept an image that came into use", zap.String("image", i.Name), zap.String("dataset", i.Dataset), zap.Error(err))
			continue
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, i)
		s.log.Info("removed an unused image", zap.String("image", i.Name), zap.String("dataset", i.Dataset), zap.Time("last_used", i.LastUsed))
	}
	return removed, nil
}

func (s *Server) unusedImages(ctx context.Context, unusedFor time.Duration, dry bool) ([]UnusedImage, error) {
	var datasets []truenas.Dataset
	var vms []truenas.VM
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { datasets, err = s.nas.Datasets.List(gctx); return })
	g.Go(func() (err error) { vms, err = s.nas.VMs.List(gctx); return })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	images := regexp.MustCompile("^[^/]+" + regexp.QuoteMeta(strings.TrimPrefix(s.layout.Dataset, s.layout.Pool())+spec.ImagesFolder) + "[^/]+$")
	var unused []UnusedImage
	for _, d := range datasets {
		if !images.MatchString(d.ID) || d.LocalUserProperties[spec.PropProvider] != s.cfg.ID || s.busyImage(d.ID) {
			continue
		}
		used, err := time.Parse(time.RFC3339, d.LocalUserProperties[spec.PropUsed])
		if inUse := cloned(datasets, d.ID) || len(vmrecord.UsersOf(vms, d.ID, -1)) > 0; inUse && !dry && time.Since(used) > pruneEvery/2 {
			// The time counts from when the last clone went, also when that went without this provider.
			if err := s.touchImage(ctx, d.ID); err != nil {
				return nil, err
			}
			continue
		} else if inUse || err != nil || time.Since(used) < unusedFor || s.staged(datasets, d.ID) {
			continue // In doubt the image stays.
		}
		volume := slices.IndexFunc(datasets, func(v truenas.Dataset) bool { return v.ID == d.ID+"/disk" })
		if i := (spec.Image{}); volume < 0 || !s.resumable(&i, landState{dataset: &d}) {
			continue
		}
		unused = append(unused, UnusedImage{Dataset: d.ID, Name: d.LocalUserProperties[spec.PropName], LastUsed: used, UsedBytes: d.UsedBytes})
	}
	return unused, nil
}

func (s *Server) busyImage(dataset string) bool {
	running, _ := s.images.Peek(dataset)
	return running
}

// cloned says whether anything anywhere is a clone of something in a dataset.
func cloned(all []truenas.Dataset, dataset string) bool {
	for _, d := range all {
		if origin, _, _ := strings.Cut(d.Origin, "@"); origin != "" && spec.InTree(origin, dataset) {
			return true
		}
	}
	return false
}

// staged reports whether a replica prepares the image.
func (s *Server) staged(all []truenas.Dataset, image string) bool {
	staging := s.layout.ImageStaging(image)
	return slices.ContainsFunc(all, func(d truenas.Dataset) bool { return d.ID == staging })
}

// noteUse writes down that an image was used, at most once a day.
func (s *Server) noteUse(ctx context.Context, p *plan) error {
	if p.image == nil {
		return nil
	}
	used, err := time.Parse(time.RFC3339, p.image.LocalUserProperties[spec.PropUsed])
	if err == nil && time.Since(used) < usedAge {
		return nil
	}
	return s.touchImage(ctx, p.image.ID)
}

// touchImage writes down that an image is used at this moment.
func (s *Server) touchImage(ctx context.Context, dataset string) error {
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{spec.PropUsed: time.Now().UTC().Format(time.RFC3339)}}
	if _, err := s.nas.Datasets.Update(ctx, dataset, update); err != nil {
		return fmt.Errorf("noting the use of %s: %w", dataset, err)
	}
	return nil
}

// noteRelease records the time at which a deleted VM released its images. The VM is gone by then, so that Delete succeeds
// even when the record fails.
func (s *Server) noteRelease(ctx context.Context, r *removal) {
	for _, dataset := range slices.Compact(slices.Sorted(slices.Values(r.images))) {
		if err := s.touchImage(ctx, dataset); err != nil && !errors.Is(err, truenas.ErrNotFound) {
			s.log.Warn("record of an image's last use failed", zap.String("dataset", dataset), zap.Error(err))
		}
	}
}
