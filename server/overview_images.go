package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// ImageState is an image: on the NAS, in preparation, or one that could not be prepared.
type ImageState = landing.ImageState

// imagesAge is the maximum age of the list of the NAS's images.
const imagesAge = time.Minute

// ImagesInProgress returns the images in preparation, and those that failed in the last ten minutes.
func (s *Server) ImagesInProgress() []landing.ImageState { return s.images.States() }

// Images are the images that are on their way, failed, and are on the NAS, in this order and then by name. It asks the NAS
// at most once a minute, however many look.
func (s *Server) Images(ctx context.Context) []landing.ImageState {
	ctx, cancel := context.WithTimeout(ctx, overviewWait)
	defer cancel()
	byDataset := map[string]landing.ImageState{}
	for _, i := range s.seenImages.look(ctx, s) {
		byDataset[i.Dataset] = i
	}
	for _, i := range s.images.States() {
		i.Bytes = byDataset[i.Dataset].Bytes
		byDataset[i.Dataset] = i
	}
	list := make([]landing.ImageState, 0, len(byDataset))
	for _, i := range byDataset {
		list = append(list, i)
	}
	rank := func(i landing.ImageState) int {
		switch {
		case i.Running:
			return 0
		case i.Err != nil:
			return 1
		}
		return 2
	}
	slices.SortFunc(list, func(a, b landing.ImageState) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Dataset, b.Dataset))
	})
	return list
}

// seenImages are the images on the NAS as they were seen last.
type seenImages struct {
	mu    sync.Mutex
	tried time.Time
	list  []landing.ImageState
}

// look answers what was seen, and has it read again when that is long ago. Only the very first one waits for it.
func (seen *seenImages) look(ctx context.Context, s *Server) []landing.ImageState {
	seen.mu.Lock()
	first, list := seen.tried.IsZero(), seen.list
	due := s.nas.Status().Connected && time.Since(seen.tried) > imagesAge
	if due {
		seen.tried = time.Now()
	}
	seen.mu.Unlock()
	if !due {
		return list
	}
	read := make(chan struct{})
	s.background.Go(func() {
		defer close(read)
		seen.read(s)
	})
	if !first {
		return list
	}
	select {
	case <-read:
	case <-ctx.Done():
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	return seen.list
}

// outdate has the next look read them again.
func (seen *seenImages) outdate() {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	seen.tried = time.Time{}
}

// read takes the images of every pool's tree from the NAS. A failure leaves what was seen before.
func (seen *seenImages) read(s *Server) {
	ctx, cancel := context.WithTimeout(s.ctx, inventory.CallTimeout)
	defer cancel()
	datasets, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "~", s.layout.ImagesPattern()))
	if err != nil {
		return
	}
	sizes := map[string]int64{}
	for _, d := range datasets {
		sizes[d.ID] = d.VolsizeBytes
	}
	var list []landing.ImageState
	for _, d := range datasets {
		size, whole := sizes[d.ID+"/disk"]
		if whole && d.LocalUserProperties[spec.PropProvider] == s.cfg.ID {
			list = append(list, landing.ImageState{Name: d.LocalUserProperties[spec.PropName], Dataset: d.ID, Source: d.LocalUserProperties[spec.PropSource], Bytes: size})
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	seen.list = list
}
