package server

import (
	"encoding/json"
	"strings"
	"time"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
)

// Bounds of how long an image may take.
const (
	defaultImageTimeout = 2 * time.Hour
	maxImageTimeout     = 24 * time.Hour
	maxImageRetries     = 10
	defaultImageRetries = 3
)

// imageSpec is what an image is to be prepared from, and how persistently.
type imageSpec struct {
	source  disk.Source
	path    string // something that is on the NAS already
	timeout time.Duration
	retries int  // how often a failed preparation is started again
	absent  bool // a missing image is an error and not a task
	force   bool // prepare it again although it is there
}

// imageJobJSON is ImagePrepare's image_json: the VMImage's source and prepare sections as the
// manager sends them, or the flat form that Create has.
type imageJobJSON struct {
	Source       *imageSourceJSON
	Prepare      *imagePolicyJSON
	Metadata     json.RawMessage // what people should know of the image
	Distribution json.RawMessage // likewise

	TemplateName string
	Path         string
	URL          string
	Format       string
	Checksum     string
	ChecksumType string
	ImportedDisk *bool // of Create's form; see [imageJSON]
}

type imageSourceJSON struct {
	Libvirt  *imageFileJSON
	HTTP     *imageFileJSON
	Registry *imageFileJSON

	VSphere    json.RawMessage // for other providers of the same image
	Proxmox    json.RawMessage
	DataVolume json.RawMessage
}

// imageFileJSON is any of the sources; each uses some of the fields.
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
	Storage          json.RawMessage // where other hypervisors put it
	Optimization     json.RawMessage // what they do to it
}

// parseImageJob reads ImagePrepare's image_json.
func parseImageJob(text string) (imageSpec, error) {
	const field = "image_json"
	var j imageJobJSON
	if err := decodeJSON(field, text, &j); err != nil {
		return imageSpec{}, err
	}
	file, at, err := j.file()
	if err != nil {
		return imageSpec{}, err
	}
	s := imageSpec{path: file.Path, timeout: defaultImageTimeout, retries: defaultImageRetries}
	s.source = disk.Source{URL: file.URL, Format: announced(file.Format), Checksum: file.Checksum, ChecksumType: file.ChecksumType}
	if file.Image != "" {
		s.source.URL = "oci://" + strings.TrimPrefix(file.Image, "oci://")
	}
	if err := checkFormat(at+".format", s.source.Format); err != nil {
		return s, err
	}
	switch {
	case len(file.Headers) > 0 && at != "image_json.source.http":
		return s, refusal.InvalidArgument(at+".headers", "only an http source has headers")
	case len(file.Authentication) > 0 && asksForSomething(file.Authentication):
		return s, refusal.InvalidArgument(at+".authentication", "cannot be honoured: the manager passes no secrets on to providers")
	case s.source.URL == "" && s.path == "":
		return s, refusal.InvalidArgument(at, "gives neither url nor path")
	case s.source.URL != "" && s.path != "":
		return s, refusal.InvalidArgument(at, "gives both url and path; give one")
	}
	if err := disk.CheckHeaders(file.Headers); err != nil {
		return s, refusal.InvalidArgument(at+".headers", "%v", err)
	}
	s.source.Credentials.Headers = file.Headers
	if url := aliasOf(s.path); url != "" {
		s.source.URL, s.path = url, ""
	}
	if strings.HasPrefix(s.path, mountedUnder) && !isInstallerFile(s.path) {
		s.source.URL, s.path = onNAS+s.path, ""
	}
	return s, s.policy(j.Prepare, file.Timeout)
}

// file answers the one source that is given, and where it stands.
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
	return imageFileJSON{}, "", refusal.InvalidArgument("image_json.source", "gives none of libvirt, http and registry, which are what this provider can use")
}

// announced is the format that an image has to have. "qcow2" is what the manager fills in where
// a user wrote nothing, so it says nothing; the content tells.
func announced(format string) string {
	if strings.EqualFold(format, "qcow2") || strings.EqualFold(format, "template") {
		return ""
	}
	return format
}

// checkFormat refuses names that no format has, whether or not the image is on the NAS already.
func checkFormat(field, name string) error {
	if _, err := disk.ParseFormat(name); err != nil {
		return refusal.InvalidArgument(field, "%v", err)
	}
	return nil
}

func (s *imageSpec) policy(p *imagePolicyJSON, sourceTimeout string) error {
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
		s.timeout = d
	}
	switch strings.ToLower(p.OnMissing) {
	case "", "import":
	case "fail", "wait":
		s.absent = true
	default:
		return refusal.InvalidArgument("image_json.prepare.onMissing", "%q; allowed are Import, Fail and Wait", p.OnMissing)
	}
	if p.Retries != nil {
		if *p.Retries < 0 || *p.Retries > maxImageRetries {
			return refusal.InvalidArgument("image_json.prepare.retries", "%d; allowed are 0 to %d", *p.Retries, maxImageRetries)
		}
		s.retries = *p.Retries
	}
	if p.ValidateChecksum != nil && !*p.ValidateChecksum {
		s.source.Checksum, s.source.ChecksumType = "", ""
	}
	s.force = p.Force
	return nil
}
