package server

import (
	"context"
	"errors"
	"fmt"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// ImagePrepare lands an image as a volume with a snapshot, of which every VM's root disk is a clone. It returns when the source
// is open, with the image's future path and a task.
//
// A manager of line 0.4 names the VMImage: the image then is an artifact of that VMImage and of its source's digest, and a
// failed task reports its error. For an older manager, the URL and checksum alone identify the image; that task never reports
// an error, because the manager would keep it forever, and the next Create reports it.
func (s *Server) ImagePrepare(ctx context.Context, req *providerv1.ImagePrepareRequest) (*providerv1.ImagePrepareResponse, error) {
	job, err := spec.ParseImageJob(req.GetImageJson())
	if err != nil {
		return nil, err
	}
	id, err := spec.ParseImageIdentity(req)
	if err != nil {
		return nil, err
	}
	if hint := req.GetStorageHint(); hint != "" && !spec.ValidPool(hint) {
		return nil, refusal.InvalidArgument("storage_hint", "%q is not the name of a pool", hint)
	}
	if id == nil && len(job.Source.Credentials.Headers) > 0 {
		// Every caller with the URL shares an image without an identity, also callers without the credentials.
		return nil, refusal.InvalidArgument("image_json.source.http.headers", "need image and source_digest, which VirtRigaud sends from 0.4 on")
	}
	if id == nil {
		s.cfg.Hooks.OnLegacyImage()
		return s.prepareShared(ctx, req, job)
	}
	return s.prepareArtifact(ctx, *id, req.GetStorageHint(), job)
}

// prepareShared prepares an image for a manager before line 0.4.
func (s *Server) prepareShared(ctx context.Context, req *providerv1.ImagePrepareRequest, job spec.ImageJob) (*providerv1.ImagePrepareResponse, error) {
	if job.Path != "" {
		return s.present(ctx, job.Path)
	}
	img, err := s.images.Of(req.GetStorageHint(), req.GetTargetName(), job)
	if err != nil {
		return nil, err
	}
	if err := s.placeImage(ctx, req.GetStorageHint(), &img); err != nil {
		return nil, err
	}
	resp, _, err := s.prepare(ctx, img)
	return resp, err
}

// prepareArtifact prepares an image for one VMImage. Every response names the VMImage.
func (s *Server) prepareArtifact(ctx context.Context, id spec.ImageIdentity, pool string, job spec.ImageJob) (*providerv1.ImagePrepareResponse, error) {
	if job.Path != "" {
		return nil, refusal.InvalidArgument("image_json.source.libvirt.path", "%q is a path on the NAS: such an image is used in place and not prepared", job.Path)
	}
	img, err := s.images.Of(pool, id.Display(), job)
	if err != nil {
		return nil, err
	}
	img.Key, img.Identity = id.Artifact(), &id
	if err := s.placeImage(ctx, pool, &img); err != nil {
		return nil, err
	}
	resp, started, err := s.prepare(ctx, img)
	switch {
	case errors.Is(err, disk.ErrUnavailable):
		return nil, refusal.Fault{Kind: refusal.ErrImageSourceUnavailable, Cause: err}
	case err != nil:
		return nil, err
	}
	resp.Artifact = id.Confirm(!started)
	return resp, nil
}

// prepare starts the preparation of an image that is not ready.
func (s *Server) prepare(ctx context.Context, i spec.Image) (resp *providerv1.ImagePrepareResponse, started bool, err error) {
	if err := s.needUpload("image_json"); err != nil {
		return nil, false, err
	}
	started, err = s.images.Ensure(ctx, i)
	if err != nil {
		return nil, started, err
	}
	resp = &providerv1.ImagePrepareResponse{PreparedImageId: i.Snapshot(), PreparedImagePath: i.Snapshot()}
	if started {
		resp.Task = taskOf(i)
	}
	return resp, started, nil
}

// present returns the response for an object that is on the NAS already and needs no preparation.
func (s *Server) present(ctx context.Context, path string) (*providerv1.ImagePrepareResponse, error) {
	if spec.IsInstaller(path) {
		_, err := s.images.MayRead(ctx, "image_json.source.libvirt.path", path)
		return &providerv1.ImagePrepareResponse{PreparedImageId: path, PreparedImagePath: path}, err
	}
	ref, err := spec.ParseImagePath(path)
	if err != nil {
		return nil, err
	}
	if err := s.resolvePath(&ref); err != nil {
		return nil, err
	}
	if err := s.confine("image_json.source.libvirt.path", ref, ""); err != nil {
		return nil, err
	}
	if ref.Kind == spec.ImageClone {
		_, err = s.nas.Snapshots.Get(ctx, ref.Snapshot)
	} else {
		_, err = s.nas.Datasets.Get(ctx, ref.Volume)
	}
	if errors.Is(err, truenas.ErrNotFound) {
		return nil, refusal.FailedPrecondition("image_json.source.libvirt.path: %s is not on the NAS", path)
	}
	return &providerv1.ImagePrepareResponse{PreparedImageId: path, PreparedImagePath: path}, err
}

func taskOf(i spec.Image) *providerv1.TaskRef {
	return &providerv1.TaskRef{Id: fmt.Sprintf("%s/%s/%s", taskImage, spec.PoolOf(i.Root), i.Key)}
}
