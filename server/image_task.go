package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// taskImage is the prefix of the ids of tasks of images: image/<pool>/<key>.
const taskImage = "image"

// imageTask reports whether an image's task is over, and the failure of an artifact. After the process of a preparation has ended,
// the next process that serves the task resumes the preparation from the properties of the image's dataset.
func (s *Server) imageTask(ctx context.Context, pool, key string) (done bool, failed, err error) {
	i := spec.Image{Key: key, Root: s.layout.Root(pool)}
	switch running, failure := s.images.Peek(i.Dataset()); {
	case running:
		now, _ := s.images.Progress(i.Dataset())
		announceProgress(ctx, now)
		return false, nil, nil
	case failure != nil && s.images.IsArtifact(i.Dataset()):
		return true, failure, nil
	case failure != nil:
		return true, nil, nil // The next Create reports it.
	case s.images.JustPrepared(i.Dataset()):
		return true, nil, nil
	}
	st, err := s.images.Observe(ctx, i)
	if err != nil {
		return false, nil, err
	}
	if st.Ready {
		return true, nil, s.lander.DropStaging(ctx, st)
	}
	if !s.images.Resumable(&i, st) {
		return true, nil, nil
	}
	s.images.Start(i)
	return false, nil, nil
}

// resolve finds the prepared image of this provider for the requested image, by its source or by its path.
func (s *Server) resolve(want *spec.VM) error {
	switch want.Image.Kind {
	case spec.ImageURL:
		i, err := s.images.Of(want.Pool, want.Name, want.Image.Job)
		if err != nil {
			return err
		}
		if want.Namespace != "" {
			i.Key, i.Namespace = want.Namespace+"."+i.Key, want.Namespace
		}
		want.Image = spec.ImageRef{Kind: spec.ImageClone, Volume: i.Volume(), Snapshot: i.Snapshot(), Job: want.Image.Job, Prepared: &i}
	case spec.ImageClone, spec.ImageAttach:
		if err := s.resolvePath(&want.Image); err != nil {
			return err
		}
	}
	if want.Image.Kind == spec.ImageAttach && want.Image.NotImported {
		return refusal.InvalidArgument("image_json.Path", "%q is a volume, but not a disk that a migration imported for this VM; an image is a snapshot of a volume (pool/dataset/volume@snapshot), which is cloned", want.Image.Volume)
	}
	return nil
}

// absentImage is the refusal for an image that is not on the NAS, and for one that the caller must not know of.
func absentImage(path string) error {
	return refusal.FailedPrecondition("image_json.Path: %s is not on the NAS; it was not prepared, or was deleted. Create the VMImage again to prepare it", path)
}

// mayUse refuses an image that belongs to one VMImage or to one namespace when a user wrote its path into a VMImage. An artifact
// needs the path that ImagePrepare returned, which line 0.4 does not allow in a VMImage and which its managers send with the
// key ImportedDisk. An image that Create prepared for a namespace needs its URL.
func (s *Server) mayUse(ref spec.ImageRef, seen *observation) error {
	if ref.Prepared == nil {
		return nil
	}
	d, ok := seen.datasets[ref.Prepared.Dataset()]
	if !ok {
		return nil
	}
	props := d.LocalUserProperties
	if spec.ReadStamp(props) != nil && !ref.FromPrepare || props[spec.PropNamespace] != ref.Prepared.Namespace {
		return absentImage(ref.Snapshot)
	}
	return nil
}

// resolvePath recognises a prepared image of this provider by its volume or its snapshot.
func (s *Server) resolvePath(ref *spec.ImageRef) error {
	i, ok := s.images.ByPath(ref.Volume)
	if !ok {
		return nil
	}
	if ref.Kind == spec.ImageClone && ref.Snapshot != i.Snapshot() {
		return absentImage(ref.Snapshot)
	}
	ref.Kind, ref.Snapshot, ref.Prepared = spec.ImageClone, i.Snapshot(), &i
	return nil
}

// await is the response for a VM whose image is not ready: the VM's id and the image's task. The Create that follows the task
// makes the VM. It refuses when the image was deleted on the NAS and its source is unknown. A dry run starts no preparation, and
// leaves a failure to the Create that reports it.
func (s *Server) await(ctx context.Context, i spec.Image, id string) (*providerv1.CreateResponse, error) {
	state := s.images.State
	if isDryRun(ctx) {
		state = s.images.Peek
	}
	running, failure := state(i.Dataset())
	if failure != nil {
		return nil, failure
	}
	if !running {
		if i.Job.Source.URL == "" {
			st, err := s.images.Observe(ctx, i)
			if err != nil {
				return nil, err
			}
			if !s.images.Resumable(&i, st) {
				return nil, absentImage(i.Snapshot())
			}
		}
		if err := s.needUpload("image_json"); err != nil {
			return nil, err
		}
	}
	if isDryRun(ctx) {
		return &providerv1.CreateResponse{Id: id}, nil
	}
	if !running {
		s.images.Start(i)
	}
	s.waiting.add(id, i.Dataset())
	return &providerv1.CreateResponse{Id: id, Task: taskOf(i)}, nil
}

// waiting holds the VMs of this process that wait for their image, by id. Only Describe reads it, to show the progress of the
// image.
type waiting struct {
	mu     sync.Mutex
	images map[string]string
}

func (w *waiting) add(id, dataset string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.images == nil {
		w.images = map[string]string{}
	}
	w.images[id] = dataset
}

func (w *waiting) remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.images, id)
}

func (w *waiting) image(id string) (dataset string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dataset, ok = w.images[id]
	return dataset, ok
}

// noteUse records the use of an image, at most once a day.
func (s *Server) noteUse(ctx context.Context, p *plan) error {
	if p.image == nil {
		return nil
	}
	used, err := time.Parse(time.RFC3339, p.image.LocalUserProperties[spec.PropUsed])
	if err == nil && time.Since(used) < usedAge {
		return nil
	}
	return s.lander.Touch(ctx, p.image.ID)
}

// noteRelease records the time at which a deleted VM released its images. The VM is gone by then, so that Delete succeeds
// even when the record fails.
func (s *Server) noteRelease(ctx context.Context, r *removal) {
	for _, dataset := range slices.Compact(slices.Sorted(slices.Values(r.images))) {
		if err := s.lander.Touch(ctx, dataset); err != nil && !errors.Is(err, truenas.ErrNotFound) {
			s.log.Warn("record of an image's last use failed", zap.String("dataset", dataset), zap.Error(err))
		}
	}
}

// usedAge is the age of the record of an image's last use at which a Create renews it.
const usedAge = 24 * time.Hour
