package server

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

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

// PruneImages removes this provider's images that have no clones and were not used for a time;
// with dry it only says which. It decides by what the NAS says and by nothing else, so that a
// restart does not make images look unused.
func (s *Server) PruneImages(ctx context.Context, unusedFor time.Duration, dry bool) ([]UnusedImage, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	unused, err := s.unusedImages(ctx, unusedFor)
	if err != nil || dry {
		return unused, err
	}
	for n, i := range unused {
		if err := destroy(ctx, s.nas, i.Dataset); err != nil {
			return unused[:n], err
		}
		s.log.Info("removed an unused image", zap.String("image", i.Name), zap.String("dataset", i.Dataset), zap.Time("last_used", i.LastUsed))
	}
	return unused, nil
}

func (s *Server) unusedImages(ctx context.Context, unusedFor time.Duration) ([]UnusedImage, error) {
	var datasets []truenas.Dataset
	var vms []truenas.VM
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { datasets, err = s.nas.Datasets.List(gctx); return })
	g.Go(func() (err error) { vms, err = s.nas.VMs.List(gctx); return })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	images := regexp.MustCompile("^[^/]+" + regexp.QuoteMeta(strings.TrimPrefix(s.layout.dataset, s.layout.pool())+imagesFolder) + "[^/]+$")
	var unused []UnusedImage
	for _, d := range datasets {
		if !images.MatchString(d.ID) || d.LocalUserProperties[propProvider] != s.cfg.ID || s.busyImage(d.ID) {
			continue
		}
		used, err := time.Parse(time.RFC3339, d.LocalUserProperties[propUsed])
		if err != nil || time.Since(used) < unusedFor || cloned(datasets, d.ID) || len(usersOf(vms, d.ID, -1)) > 0 || s.staged(datasets, d.ID) {
			continue // Of what cannot be told, nothing is removed.
		}
		unused = append(unused, UnusedImage{Dataset: d.ID, Name: d.LocalUserProperties[propName], LastUsed: used, UsedBytes: d.UsedBytes})
	}
	return unused, nil
}

func (s *Server) busyImage(dataset string) bool {
	running, _ := s.images.peek(dataset)
	return running
}

// cloned says whether anything anywhere is a clone of something in a dataset.
func cloned(all []truenas.Dataset, dataset string) bool {
	for _, d := range all {
		if origin, _, _ := strings.Cut(d.Origin, "@"); origin != "" && inTree(origin, dataset) {
			return true
		}
	}
	return false
}

// staged says whether some replica is at work on the image.
func (s *Server) staged(all []truenas.Dataset, image string) bool {
	staging := s.layout.imageStaging(image)
	return slices.ContainsFunc(all, func(d truenas.Dataset) bool { return d.ID == staging })
}

// noteUse writes down that an image was used, at most once a day.
func (s *Server) noteUse(ctx context.Context, p *plan) error {
	if p.image == nil {
		return nil
	}
	used, err := time.Parse(time.RFC3339, p.image.LocalUserProperties[propUsed])
	if err == nil && time.Since(used) < usedAge {
		return nil
	}
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{propUsed: time.Now().UTC().Format(time.RFC3339)}}
	if _, err := s.nas.Datasets.Update(ctx, p.image.ID, update); err != nil {
		return fmt.Errorf("noting the use of %s: %w", p.image.ID, err)
	}
	return nil
}
