package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
)

// Bounds of the time limit of an image.
const (
	DefaultImageTimeout = 2 * time.Hour
	maxImageTimeout     = 24 * time.Hour
	maxImageRetries     = 10
	DefaultImageRetries = 3
)

// ImageJob is the source of an image to prepare, with timeout and retries.
type ImageJob struct {
	Source  disk.Source
	Path    string // an object on the NAS that needs no preparation
	Timeout time.Duration
	Retries int  // how often a failed preparation is retried
	Absent  bool // a missing image is an error, not a task
	Force   bool // prepare it again even if it exists
}

// imageJobJSON is ImagePrepare's image_json: the VMImage's source and prepare sections as the manager sends them, or the flat form
// of a Create request.
type imageJobJSON struct {
	Source       *imageSourceJSON
	Prepare      *imagePolicyJSON
	Metadata     json.RawMessage // for users of the image
	Distribution json.RawMessage // likewise

	TemplateName string
	Path         string
	URL          string
	Format       string
	Checksum     string
	ChecksumType string
	ImportedDisk *bool // of the flat form; see [imageJSON]
}

type imageSourceJSON struct {
	Libvirt  *imageFileJSON
	HTTP     *imageFileJSON
	Registry *imageFileJSON

	VSphere    json.RawMessage // for other providers of the same image
	Proxmox    json.RawMessage
	DataVolume json.RawMessage
}

// imageFileJSON is the union of all sources; each uses some of the fields.
type imageFileJSON struct {
	URL            string
	Path           string
	Format         string
	Checksum       string
	ChecksumType   string
	Timeout        string
	Image          string            // registry
	StoragePool    string            // libvirt's own
	Headers        map[string]string // http
	Authentication json.RawMessage   // http
	PullSecretRef  json.RawMessage   // registry
}

type imagePolicyJSON struct {
	OnMissing        string
	ValidateChecksum *bool
	Timeout          string
	Retries          *int
	Force            bool
	Storage          json.RawMessage // the storage place of other hypervisors
	Optimization     json.RawMessage // the conversion of other hypervisors
}

// ParseImageJob reads ImagePrepare's image_json.
func ParseImageJob(text string) (ImageJob, error) {
	const field = "image_json"
	var j imageJobJSON
	if err := DecodeJSON(field, text, &j); err != nil {
		return ImageJob{}, err
	}
	file, at, err := j.file()
	if err != nil {
		return ImageJob{}, err
	}
	s := ImageJob{Path: file.Path, Timeout: DefaultImageTimeout, Retries: DefaultImageRetries}
	s.Source = disk.Source{URL: file.URL, Format: announced(file.Format), Checksum: file.Checksum, ChecksumType: file.ChecksumType}
	if file.Image != "" {
		s.Source.URL = "oci://" + strings.TrimPrefix(file.Image, "oci://")
	}
	if err := checkFormat(at+".format", s.Source.Format); err != nil {
		return s, err
	}
	switch {
	case len(file.Headers) > 0 && at != "image_json.source.http":
		return s, refusal.InvalidArgument(at+".headers", "only an http source has headers")
	case len(file.Authentication) > 0 && requestsSomething(file.Authentication):
		return s, refusal.InvalidArgument(at+".authentication", "cannot be honoured: the manager passes no secrets on to providers")
	case s.Source.URL == "" && s.Path == "":
		return s, refusal.InvalidArgument(at, "must have url or path")
	case s.Source.URL != "" && s.Path != "":
		return s, refusal.InvalidArgument(at, "gives both url and path; give one")
	}
	if err := disk.CheckHeaders(file.Headers); err != nil {
		return s, refusal.InvalidArgument(at+".headers", "%v", err)
	}
	s.Source.Credentials.Headers = file.Headers
	if url := aliasOf(s.Path); url != "" {
		s.Source.URL, s.Path = url, ""
	}
	if strings.HasPrefix(s.Path, MountPrefix) && !IsInstaller(s.Path) {
		s.Source.URL, s.Path = nasScheme+s.Path, ""
	}
	return s, s.policy(j.Prepare, file.Timeout)
}

// file returns the source of the request, and its field.
func (j imageJobJSON) file() (imageFileJSON, string, error) {
	if j.Source == nil {
		if j.TemplateName != "" {
			return imageFileJSON{}, "", refusal.InvalidArgument("image_json.TemplateName", "%q: TrueNAS has no templates; give URL or Path", j.TemplateName)
		}
		return imageFileJSON{URL: j.URL, Path: j.Path, Format: j.Format, Checksum: j.Checksum, ChecksumType: j.ChecksumType}, "image_json", nil
	}
	for _, s := range []struct {
		at   string
		file *imageFileJSON
	}{{"libvirt", j.Source.Libvirt}, {"http", j.Source.HTTP}, {"registry", j.Source.Registry}} {
		if s.file != nil {
			return *s.file, "image_json.source." + s.at, nil
		}
	}
	return imageFileJSON{}, "", refusal.InvalidArgument("image_json.source", "must have libvirt, http or registry")
}

// announced returns the required format of an image, or "" for any. The manager sends "qcow2" as the default when the user gives no
// format, so "qcow2" does not restrict the content.
func announced(format string) string {
	if strings.EqualFold(format, "qcow2") || strings.EqualFold(format, "template") {
		return ""
	}
	return format
}

// checkFormat refuses an unknown name of a format, also for an image that is on the NAS already.
func checkFormat(field, name string) error {
	if _, err := disk.ParseFormat(name); err != nil {
		return refusal.InvalidArgument(field, "%v", err)
	}
	return nil
}

func (s *ImageJob) policy(p *imagePolicyJSON, sourceTimeout string) error {
	if p == nil {
		p = &imagePolicyJSON{}
	}
	for _, t := range []struct{ field, text string }{{"image_json.source.http.timeout", sourceTimeout}, {"image_json.prepare.timeout", p.Timeout}} {
		if t.text == "" {
			continue
		}
		d, err := time.ParseDuration(t.text)
		if err != nil || d <= 0 || d > maxImageTimeout {
			return refusal.InvalidArgument(t.field, "%q; allowed are durations up to %v, such as 30m", t.text, maxImageTimeout)
		}
		s.Timeout = d
	}
	switch strings.ToLower(p.OnMissing) {
	case "", "import":
	case "fail", "wait":
		s.Absent = true
	default:
		return refusal.InvalidArgument("image_json.prepare.onMissing", "%q; allowed are Import, Fail and Wait", p.OnMissing)
	}
	if p.Retries != nil {
		if *p.Retries < 0 || *p.Retries > maxImageRetries {
			return refusal.InvalidArgument("image_json.prepare.retries", "%d; allowed are 0 to %d", *p.Retries, maxImageRetries)
		}
		s.Retries = *p.Retries
	}
	if p.ValidateChecksum != nil && !*p.ValidateChecksum {
		s.Source.Checksum, s.Source.ChecksumType = "", ""
	}
	s.Force = p.Force
	return nil
}

// nasScheme is the prefix of the source of an image file on the NAS, such as nas:/mnt/tank/iso/debian.qcow2. Callers give its path.
const nasScheme = "nas:"

// MountPrefix is the mount point of all pools.
const MountPrefix = "/mnt/"

// NASFile returns the path of an image file on the NAS.
func NASFile(source disk.Source) (file string, ok bool) {
	return strings.CutPrefix(source.URL, nasScheme)
}

// IsInstaller reports whether a path names an ISO on the NAS, which VMs use in place as a CD-ROM.
func IsInstaller(path string) bool {
	return strings.HasPrefix(path, MountPrefix) && strings.HasSuffix(strings.ToLower(path), ".iso")
}

// ImageKey identifies an image's source. The key of a file on the NAS does not depend on the file's content.
func ImageKey(source disk.Source) (string, error) {
	file, ok := NASFile(source)
	if !ok {
		return disk.Key(source)
	}
	digest := sha256.Sum256([]byte(nasScheme + "\x00" + file + "\x00" + strings.ToLower(source.Checksum)))
	return hex.EncodeToString(digest[:20]), nil
}

// PublicSource returns the source of the image, or "" if it, or the URL of its checksum, may contain a secret.
func (s ImageJob) PublicSource() string {
	if len(s.Source.Credentials.Headers) > 0 || mayHoldSecret(s.Source.URL) || mayHoldSecret(s.Source.Checksum) {
		return ""
	}
	return s.Source.URL
}

// mayHoldSecret reports whether a URL may contain a secret: user information, or a query, which contains the signature of a
// presigned URL.
func mayHoldSecret(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.User != nil || u.RawQuery != ""
}
