package server

import (
	"context"
	"strings"
	"sync"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
)

// taskImage begins the ids of tasks that stand for an image: image/<pool>/<key>.
const taskImage = "image"

// imageTask says whether an image's task is over, and for an artifact why it failed. A preparation that was interrupted by the end
// of a process is taken up by whichever process is asked: what is meant to be there stands in
// the properties of the image's dataset.
func (s *Server) imageTask(ctx context.Context, pool, key string) (done bool, failed, err error) {
	i := image{key: key, root: s.layout.root(pool)}
	switch running, failure := s.images.peek(i.dataset()); {
	case running:
		about, _ := s.images.get(i.dataset())
		announceProgress(ctx, about.progress)
		return false, nil, nil
	case failure != nil && s.images.isArtifact(i.dataset()):
		return true, failure, nil
	case failure != nil:
		return true, nil, nil // The next Create reports it.
	}
	st, err := s.observeImage(ctx, i)
	if err != nil {
		return false, nil, err
	}
	if st.ready {
		return true, nil, s.dropStaging(ctx, st)
	}
	if !s.resumable(&i, st) {
		return true, nil, nil
	}
	s.images.start(i)
	return false, nil, nil
}

// resumable reads what an image was to be made from off its dataset; false when that is not
// known there.
func (s *Server) resumable(i *image, st landState) bool {
	if st.dataset == nil {
		return false
	}
	props := st.dataset.LocalUserProperties
	if props[propProvider] != s.cfg.ID || props[propSource] == "" {
		return false
	}
	kind, sum, _ := strings.Cut(props[propChecksum], ":")
	i.name, i.identity, i.space = props[propName], stamped(props), props[propSpace]
	i.spec = imageSpec{timeout: defaultImageTimeout, retries: defaultImageRetries, source: disk.Source{URL: props[propSource], Format: props[propFormat], Checksum: sum, ChecksumType: kind}}
	return true
}

// resolve finds the prepared image behind what a VM is to be made from, if it is one of ours:
// by its source, or by its path.
func (s *Server) resolve(want *spec) error {
	switch want.image.kind {
	case imageURL:
		i, err := s.imageOf(want.pool, want.name, want.image.spec)
		if err != nil {
			return err
		}
		if want.namespace != "" {
			i.key, i.space = want.namespace+"."+i.key, want.namespace
		}
		want.image = imageRef{kind: imageClone, volume: i.volume(), snap: i.snapshot(), spec: want.image.spec, prepared: &i}
	case imageClone, imageAttach:
		if err := s.resolvePath(&want.image); err != nil {
			return err
		}
	}
	if want.image.kind == imageAttach && want.image.foreign {
		return refusal.InvalidArgument("image_json.Path", "%q is a volume, and not the disk that a migration of this VM landed; an image is a snapshot of a volume (pool/dataset/volume@snapshot), which is cloned", want.image.volume)
	}
	return nil
}

// absentImage is the answer for an image that is not on the NAS, and for one that the caller must not know of.
func absentImage(path string) error {
	return refusal.FailedPrecondition("image_json.Path: %s is not on the NAS; it was never prepared, or was deleted there. Create the VMImage again to have it prepared", path)
}

// mayUse refuses an image that belongs to one VMImage or to one namespace to whoever wrote its path into a VMImage. Only what
// ImagePrepare answered leads to an artifact: a path that line 0.4 does not allow in a VMImage, and that the managers of that line
// pass on beside the key ImportedDisk. Only a URL leads to an image that Create itself landed for a namespace.
func (s *Server) mayUse(ref imageRef, seen *observation) error {
	if ref.prepared == nil {
		return nil
	}
	d, ok := seen.datasets[ref.prepared.dataset()]
	if !ok {
		return nil
	}
	props := d.LocalUserProperties
	if stamped(props) != nil && !ref.answered || props[propSpace] != ref.prepared.space {
		return absentImage(ref.snap)
	}
	return nil
}

// resolvePath recognises a prepared image of this provider by its volume or its snapshot.
func (s *Server) resolvePath(ref *imageRef) error {
	i, ok := s.imageByPath(ref.volume)
	if !ok {
		return nil
	}
	if ref.kind == imageClone && ref.snap != i.snapshot() {
		return absentImage(ref.snap)
	}
	ref.kind, ref.snap, ref.prepared = imageClone, i.snapshot(), &i
	return nil
}

// imageOfVolume is the dataset of the prepared image whose volume this is, or "".
func (s *Server) imageOfVolume(volume string) string {
	if i, ok := s.imageByPath(volume); ok {
		return i.dataset()
	}
	return ""
}

// imageByPath answers the prepared image whose volume this is.
func (s *Server) imageByPath(volume string) (image, bool) {
	dataset, isDisk := strings.CutSuffix(volume, "/disk")
	root := s.layout.root(poolOf(volume))
	key, inTree := strings.CutPrefix(dataset, root+imagesFolder)
	return image{key: key, root: root}, isDisk && inTree && key != "" && !strings.Contains(key, "/")
}

// await answers for a VM whose image is not ready: its id and the image's task. The VM is made
// by the Create that follows the task. An image that was deleted on the NAS, and of which nobody
// knows the source any more, is nothing to wait for.
func (s *Server) await(ctx context.Context, i image, id string) (*providerv1.CreateResponse, error) {
	running, failure := s.images.state(i.dataset())
	if failure != nil {
		return nil, failure
	}
	if !running {
		if i.spec.source.URL == "" {
			st, err := s.observeImage(ctx, i)
			if err != nil {
				return nil, err
			}
			if !s.resumable(&i, st) {
				return nil, absentImage(i.snapshot())
			}
		}
		if err := s.needUpload("image_json"); err != nil {
			return nil, err
		}
		s.images.start(i)
	}
	s.waiting.add(id, i.dataset())
	return &providerv1.CreateResponse{Id: id, Task: i.task()}, nil
}

// waiting are the VMs of this process that wait for their image, by id; only Describe reads it,
// to show how far the image is.
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
