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

// ImageState is an image that is ready, in preparation or failed.
type ImageState = landing.ImageState

// seenAge is the maximum age of a cached reading of the NAS.
const seenAge = time.Minute

// ImagesInProgress returns the images in preparation, and those that failed in the last ten minutes.
func (s *Server) ImagesInProgress() []landing.ImageState { return s.images.States() }

// Images are the images in preparation, the failed ones, and the images on the NAS, in this order and then by name. It
// queries the NAS at most once a minute for all callers.
func (s *Server) Images(ctx context.Context) []landing.ImageState {
	ctx, cancel := context.WithTimeout(ctx, overviewWait)
	defer cancel()
	byDataset := map[string]landing.ImageState{}
	for _, i := range s.seenImages.look(ctx, s, s.readImages) {
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

// seen caches a reading of the NAS, and renews it at most once per [seenAge] for all callers.
type seen[T any] struct {
	mu    sync.Mutex
	tried time.Time
	value T
}

// look returns the last reading, and starts a new one in the background when the last one is old. Only the first caller waits for
// it. After a failed reading the last one stays.
func (n *seen[T]) look(ctx context.Context, s *Server, read func(context.Context) (T, error)) T {
	n.mu.Lock()
	first, value := n.tried.IsZero(), n.value
	due := s.nas.Status().Connected && time.Since(n.tried) > seenAge
	if due {
		n.tried = time.Now()
	}
	n.mu.Unlock()
	if !due {
		return value
	}
	done := make(chan struct{})
	s.background.Go(func() { //nolint:contextcheck // Others wait for it, too: it outlives the caller.
		defer close(done)
		ctx, cancel := context.WithTimeout(s.ctx, inventory.CallTimeout)
		defer cancel()
		if value, err := read(ctx); err == nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.value = value
		}
	})
	if !first {
		return value
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.value
}

// invalidate makes the next look start a new reading.
func (n *seen[T]) invalidate() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tried = time.Time{}
}

// readImages reads the images in the tree of every pool.
func (s *Server) readImages(ctx context.Context) ([]landing.ImageState, error) {
	datasets, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "~", s.layout.ImagesPattern()))
	if err != nil {
		return nil, err
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
	return list, nil
}
