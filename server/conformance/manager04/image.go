package manager04

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Image is a VMImage with source.libvirt: a URL is imported, and a path alone is passed on by reference.
type Image struct {
	UID, Namespace, Name   string
	URL, Path, Format      string
	Checksum, ChecksumType string

	// The manager's record of the provider's responses.
	Prepared string              // the path of the artifact
	Task     *providerv1.TaskRef // in progress
	failures int
}

func (i *Image) identity() *providerv1.ObjectIdentity {
	return &providerv1.ObjectIdentity{Uid: i.UID, Namespace: i.Namespace, Name: i.Name}
}

// digest identifies the source. The manager's digest covers a canonical form of the spec; providers only compare it.
func (i *Image) digest() string {
	sum := sha256.Sum256([]byte(i.job()))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// job returns image_json.
func (i *Image) job() string {
	source := map[string]any{"url": i.URL, "format": i.Format, "checksum": i.Checksum, "checksumType": i.ChecksumType}
	return marshal(map[string]any{
		"source":  map[string]any{"libvirt": source},
		"prepare": map[string]any{"onMissing": "Import", "validateChecksum": true, "timeout": "30m0s", "retries": 3},
	})
}

// Prepare makes the next call or poll of a preparation.
func (m *Manager) Prepare(ctx context.Context, i *Image) Next {
	switch {
	case i.URL == "" || !m.offers.GetSupportsImageImport():
		return Next{Reason: Ready} // The manager passes the path to Create.
	case !m.offers.GetSupportsImageArtifactIdentity():
		return Next{After: hold, Reason: ProviderLacksIdentity}
	}
	failure := ""
	if i.Task != nil {
		var done bool
		if done, failure = m.finished(ctx, i.Task); !done {
			return Next{After: pollTask, Reason: WaitingForImage}
		}
		i.Task = nil
	}
	if failure != "" {
		return i.failed(status.Error(codes.Unknown, failure))
	}
	return m.requestImage(ctx, i)
}

func (m *Manager) requestImage(ctx context.Context, i *Image) Next {
	resp, err := m.Client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{
		ImageJson: i.job(), Image: i.identity(), SourceDigest: i.digest(), Provider: m.Provider,
	})
	m.count(err)
	if err != nil {
		return imageFailure(err)
	}
	artifact := resp.GetArtifact()
	if artifact.GetName() == "" || artifact.GetImage().GetUid() != i.UID || artifact.GetSourceDigest() != i.digest() {
		return Next{After: hold, Reason: ImageNotConfirmed}
	}
	if resp.GetTask().GetId() != "" {
		i.Task = resp.GetTask()
		return Next{After: pollTask, Reason: WaitingForImage}
	}
	i.Prepared, i.failures = resp.GetPreparedImagePath(), 0
	return Next{Reason: Ready}
}

// failed handles a task that reported an error: the manager requests the image again after a minute, and then with growing delays.
func (i *Image) failed(err error) Next {
	after := min(time.Minute<<i.failures, 30*time.Minute)
	i.failures = min(i.failures+1, 5)
	return Next{After: after, Reason: ImageImportFailed, Err: err}
}

func imageFailure(err error) Next {
	switch Reason(err) {
	case imageInProgress:
		return Next{After: hold, Reason: ImageInProgress, Err: err}
	case imageSourceUnavailable:
		return Next{After: again, Reason: ImageSourceUnavailable, Err: err}
	}
	switch status.Code(err) {
	case codes.AlreadyExists:
		return Next{After: 5 * time.Minute, Reason: ImageConflict, Err: err}
	case codes.InvalidArgument:
		return Next{After: hold, Reason: ImageInvalid, Err: err}
	}
	return Next{After: again, Reason: ProviderError, Err: err}
}

// reference returns image_json of a Create.
func (i *Image) reference(imported bool) map[string]any {
	where := map[string]any{"TemplateName": "", "Path": "", "URL": "", "Format": "", "Checksum": "", "ChecksumType": "", "ImportedDisk": imported}
	if i == nil {
		return where
	}
	where["Path"], where["URL"], where["Format"], where["Checksum"], where["ChecksumType"] = i.Path, i.URL, i.Format, i.Checksum, i.ChecksumType
	if i.Prepared != "" {
		where["Path"], where["URL"] = i.Prepared, ""
	}
	return where
}

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // A map of strings and numbers always marshals.
	}
	return string(text)
}
