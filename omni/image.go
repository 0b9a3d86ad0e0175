package omni

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/siderolabs/omni/client/pkg/infra/provision"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// How long the adapter trusts its cached state of an image, so that many machines of one image cause one request.
const (
	readyAge = 20 * time.Second
	imageAge = 2 * time.Hour // time limit for the preparation by the backend
)

// ensureImage prepares the image of the machine, once for all machines of a schematic and a Talos version. It prepares another one
// when the Talos version of the request has changed.
func (p *Provisioner) ensureImage(ctx context.Context, r *request, class Class, b *backend) error {
	if r.spec.ImagePath != "" && r.spec.TalosVersion == talosVersion(r) {
		return nil
	}
	if err := p.ensureSchematic(ctx, r, class); err != nil {
		return err
	}
	from, err := p.locate(ctx, r, class)
	if err != nil {
		return err
	}
	name := "talos-" + strings.TrimPrefix(r.spec.TalosVersion, "v") + "-" + r.spec.Schematic[:min(12, len(r.spec.Schematic))]
	wanted := image{location: from, name: name, pool: class.StoragePool, checksum: p.formats.checksum(ctx, from.Asset)}
	path, err := p.images.ensure(ctx, b, wanted, p.cfg.Pace)
	r.spec.ImagePath = path
	return err
}

// ensureSchematic registers the schematic that Omni and the class require. It omits the connection parameters, because they
// contain the machine's own token and would give every machine another image. The seed contains them.
func (p *Provisioner) ensureSchematic(ctx context.Context, r *request, class Class) error {
	version := talosVersion(r)
	if version == "" {
		return refusal("the machine request has no Talos version")
	}
	if r.spec.Schematic != "" && r.spec.TalosVersion == version {
		return nil
	}
	schematic, err := r.GenerateSchematicID(WithTalosVersion(ctx, version), r.log, provision.WithoutConnectionParams(),
		provision.WithExtraExtensions(class.Extensions...), provision.WithExtraKernelArgs(class.KernelArgs...))
	if err != nil {
		return fmt.Errorf("creation of the schematic at the image factory failed: %w", err)
	}
	r.spec.Schematic, r.spec.TalosVersion = schematic, version
	return nil
}

// talosVersion returns the Talos version of the request with its leading v, or "".
func talosVersion(r *request) string {
	if version := r.GetTalosVersion(); version != "" {
		return "v" + strings.TrimPrefix(version, "v")
	}
	return ""
}

type talosKey struct{}

// WithTalosVersion sets the Talos version for which a schematic is created; see [TalosVersion].
func WithTalosVersion(ctx context.Context, version string) context.Context {
	return context.WithValue(ctx, talosKey{}, version)
}

// TalosVersion returns the Talos version of the schematic, with its leading v, for the factory client: the SDK calls the client
// without it. It is empty outside the creation of a schematic.
func TalosVersion(ctx context.Context) string {
	version, _ := ctx.Value(talosKey{}).(string)
	return version
}

// imageURL returns the URL of the image and its format.
func (p *Provisioner) imageURL(ctx context.Context, r *request, class Class) (url, format string, err error) {
	base, err := p.factoryURL(ctx, r.spec.TalosVersion)
	if err != nil {
		return "", "", err
	}
	secure := ""
	if class.SecureBoot {
		secure = "-secureboot"
	}
	asset := fmt.Sprintf("%s/image/%s/%s/nocloud-amd64%s", base, r.spec.Schematic, r.spec.TalosVersion, secure)
	if format = p.cfg.ImageFormat; format == FormatAuto {
		format = p.formats.of(ctx, base, r.spec.TalosVersion, asset, p.loginFor(asset), r.log)
	}
	return asset + "." + format, format, nil
}

func formatOf(suffix string) string {
	if suffix == "qcow2" {
		return suffix
	}
	return "raw"
}

// image is an image for a backend to prepare.
type image struct {
	location
	name, pool string
	checksum   string // sha256 in hexadecimal; empty when none is published
}

// key identifies the image's content.
func (i image) key() string { return or(i.Key, i.URL) }

// The contract's image_json of ImagePrepare. Its names are in JSON style, unlike those of Create.
type (
	imageJob struct {
		Source  imageSource `json:"source"`
		Prepare imagePolicy `json:"prepare"`
	}
	imageSource struct {
		Libvirt *imageFile `json:"libvirt,omitempty"`
		HTTP    *imageFile `json:"http,omitempty"`
	}
	imageFile struct {
		URL          string            `json:"url"`
		Format       string            `json:"format"`
		Checksum     string            `json:"checksum,omitempty"`
		ChecksumType string            `json:"checksumType,omitempty"`
		Headers      map[string]string `json:"headers,omitempty"`
	}
	imagePolicy struct {
		OnMissing string `json:"onMissing"`
		Timeout   string `json:"timeout"`
		Retries   int    `json:"retries"`
	}
)

// request returns the request for the image. Only the contract's http source supports headers.
func (i image) request(identified bool) *providerv1.ImagePrepareRequest {
	file := &imageFile{URL: i.URL, Format: formatOf(i.format), Headers: i.Headers}
	if i.checksum != "" {
		file.Checksum, file.ChecksumType = i.checksum, "sha256"
	}
	source := imageSource{Libvirt: file}
	if len(i.Headers) > 0 {
		source = imageSource{HTTP: file}
	}
	req := &providerv1.ImagePrepareRequest{
		ImageJson: encode(imageJob{source, imagePolicy{"Import", imageAge.String(), 3}}), TargetName: i.name, StorageHint: i.pool,
	}
	if identified {
		i.identify(req)
	}
	return req
}

// images caches the state of images in preparation. After a restart the backend is asked again.
type images struct {
	mu   sync.Mutex
	work map[string]*imageWork
}

type imageWork struct {
	mu       sync.Mutex
	path     string
	task     string
	progress string // of the task, for users
	err      error
	began    time.Time // when the task was first seen
	good     time.Time // until when this state is trusted
}

// ensure returns the path of the prepared image, or [waiting]. It returns a failure to every request of the image until the next
// retry, because a backend reports a failure only once.
func (s *images) ensure(ctx context.Context, b *backend, i image, pace Pace) (string, error) {
	w := s.of(b.name + " " + i.pool + " " + i.key())
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().After(w.good) {
		w.advance(ctx, b, i, pace)
	}
	switch {
	case w.err != nil:
		return "", w.err
	case w.task != "":
		return "", waiting{progress: w.progress}
	}
	return w.path, nil
}

func (s *images) of(key string) *imageWork {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.work == nil {
		s.work = map[string]*imageWork{}
	}
	if s.work[key] == nil {
		s.work[key] = &imageWork{}
	}
	return s.work[key]
}

// forget drops the cached states after a prepared image was missing.
func (s *images) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work = nil
}

// advance reads the progress of the image from the backend. After the end of the task it requests the image once more, because
// some backends report a failure only then. Before VirtRigaud 0.4, a response with another task means that the image exists.
func (w *imageWork) advance(ctx context.Context, b *backend, i image, pace Pace) {
	over := false
	if w.task != "" && w.err == nil {
		done, progress, err := b.taskStatus(ctx, w.task)
		w.progress = ""
		if progress != "" {
			w.progress = "image " + i.name + ": " + progress
		}
		switch {
		case err != nil:
			w.task = ""
			w.result(err, pace.Retry)
			return
		case !done:
			w.running(pace)
			return
		}
		over = true
	}
	can, err := b.capabilities(ctx)
	if err != nil {
		w.result(err, pace.Retry)
		return
	}
	identified := can.GetSupportsImageArtifactIdentity()
	known := w.task
	resp, err := call(ctx, b, createTimeout, b.client.ImagePrepare, i.request(identified))
	w.path, w.task = or(resp.GetPreparedImagePath(), resp.GetPreparedImageId()), resp.GetTask().GetId()
	switch {
	case err != nil:
		w.task = ""
		w.result(err, pace.Retry)
	case w.task == "" || over && !identified:
		w.task = ""
		w.result(nil, readyAge)
	default:
		if w.task != known {
			w.began = time.Now()
		}
		w.running(pace)
	}
}

// running trusts the state of the task for a little less time than the next poll takes.
func (w *imageWork) running(pace Pace) { w.result(nil, pace.pause(time.Since(w.began))*9/10) }

func (w *imageWork) result(err error, good time.Duration) {
	w.err, w.good = err, time.Now().Add(good)
}
