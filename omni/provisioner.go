package omni

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/pkg/infra/provision"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/omni/machine"
)

// Config configures a [Provisioner].
type Config struct {
	ID          string // the provider's id in Omni
	Name        string
	Description string
	Providers   []Backend
	State       state.State             // Omni
	Factory     provision.FactoryClient // makes schematics
	FactoryURL  string                  // address of the image factory; empty: Omni's own
	ImageFormat string                  // FormatAuto, "raw.zst", "raw.xz" or "qcow2"; empty: FormatAuto
	Assets      AssetSource             // boot assets through Omni; nil, or with FactoryURL: not used
	Logins      map[string]Login        // of image factories, by their address
	Origin      string                  // distinguishes this Omni from others that use the same NAS: the host of its address
	Concurrency uint                    // requests processed at the same time; 0: 8

	KubeletProviderID bool          // patch the kubelet's provider id
	StaticHostname    bool          // patch the host name
	WaitForJoin       bool          // report PROVISIONED only after the machine has joined Omni
	StopTimeout       time.Duration // time limit for the shutdown of a released machine; 0: a minute

	HealthInterval time.Duration // 0: 15 s; Omni counts the provider as gone after 31 s
	WatchInterval  time.Duration // interval of the comparison of machines with requests; 0: 30 s
	LeaveStopped   bool          // do not restart machines that were switched off
	Orphans        Orphans
	OrphanGrace    time.Duration // how long a machine must have no request before its removal; 0: an hour
	JoinTimeout    time.Duration // a running machine that has not joined is reported after this time; 0: 20 minutes
	Pace           Pace
	KeyPatience    time.Duration // how long Omni may reject the service account's key until Run ends; 0: 5 minutes
	Version        string        // of the program, shown in Omni from 1.10 on; may be empty
	Hooks          Hooks
	Logger         *zap.Logger
}

// Orphans determines the treatment of machines of this provider whose request is gone.
type Orphans string

// Reporting is the dry run: the health text lists what Remove would remove.
const (
	ReportOrphans Orphans = "report"
	RemoveOrphans Orphans = "remove"
	IgnoreOrphans Orphans = "ignore"
)

// Pace are the intervals of periodic checks. The zero value has defaults that suit a NAS and its users.
type Pace struct {
	Poll  time.Duration // maximum interval of polls of work in progress; 0: a second
	Retry time.Duration // interval of retries; 0: 20 s
}

// longest is the maximum health interval, because Omni counts the provider as disconnected after a longer one.
const longest = 25 * time.Second

// Provisioner turns machine requests into virtual machines. It can run once.
type Provisioner struct {
	cfg       Config
	providers []*backend
	places    places
	images    images
	formats   formats
	shutdowns shutdowns
	troubles  troubles
	progress  progress
	pacing    pacing
	access    access
	log       *zap.Logger

	extensions systemExtensions
}

// New creates a provisioner; it makes no calls.
func New(cfg Config) (*Provisioner, error) {
	cfg.defaults()
	switch {
	case !IsProviderID(cfg.ID):
		return nil, fmt.Errorf("omni: id %q is not a DNS label: allowed are up to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends (Omni 1.10 refuses others)", cfg.ID)
	case cfg.State == nil || cfg.Factory == nil:
		return nil, errors.New("omni: State and Factory are required")
	case len(cfg.Providers) == 0:
		return nil, errors.New("omni: Providers is empty; at least one backend is required")
	case cfg.ImageFormat != FormatAuto && !slices.Contains(imageFormats, cfg.ImageFormat):
		return nil, fmt.Errorf("omni: image format %q is unknown; allowed: %s, %s", cfg.ImageFormat, FormatAuto, strings.Join(imageFormats, ", "))
	case cfg.Orphans != ReportOrphans && cfg.Orphans != RemoveOrphans && cfg.Orphans != IgnoreOrphans:
		return nil, fmt.Errorf("omni: orphans is %q; allowed are report, remove and ignore", cfg.Orphans)
	case cfg.HealthInterval > longest:
		return nil, fmt.Errorf("omni: the health interval is %v; at most %v are allowed, or Omni counts the provider as disconnected", cfg.HealthInterval, longest)
	}
	if err := machine.Bind(cfg.ID); err != nil {
		return nil, err
	}
	p := &Provisioner{cfg: cfg, log: cfg.Logger}
	for _, b := range cfg.Providers {
		if p.provider(b.Name) != nil || !IsBackendName(b.Name) {
			return nil, fmt.Errorf("omni: %q is not a valid backend name, or is used twice", b.Name)
		}
		domain := cmp.Or(b.FailureDomain, b.Name)
		if !IsBackendName(domain) {
			return nil, fmt.Errorf("omni: %q is not a valid failure domain", domain)
		}
		p.providers = append(p.providers, &backend{name: b.Name, domain: domain, client: b.Client})
	}
	return p, nil
}

func (c *Config) defaults() {
	c.Name = cmp.Or(c.Name, "TrueNAS")
	c.Description = cmp.Or(c.Description, "Virtual machines on TrueNAS")
	c.ImageFormat = cmp.Or(c.ImageFormat, FormatAuto)
	c.Concurrency = cmp.Or(c.Concurrency, 8)
	c.StopTimeout = cmp.Or(c.StopTimeout, time.Minute)
	c.HealthInterval = cmp.Or(c.HealthInterval, 15*time.Second)
	c.WatchInterval = cmp.Or(c.WatchInterval, 30*time.Second)
	c.Orphans = cmp.Or(c.Orphans, ReportOrphans)
	c.OrphanGrace = cmp.Or(c.OrphanGrace, time.Hour)
	c.KeyPatience = cmp.Or(c.KeyPatience, defaultKeyPatience)
	c.JoinTimeout = cmp.Or(c.JoinTimeout, 20*time.Minute)
	c.Pace.Poll = cmp.Or(c.Pace.Poll, time.Second)
	c.Pace.Retry = cmp.Or(c.Pace.Retry, 20*time.Second)
	if c.Hooks.OnStep == nil {
		c.Hooks.OnStep = func(string, string) {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

var labelRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// IsProviderID reports whether a text can be the id of an infrastructure provider: a DNS label, which Omni requires from
// 1.10 on.
func IsProviderID(id string) bool { return len(id) <= maxLabel && labelRE.MatchString(id) }

// IsBackendName reports whether a text can be the name of a backend or of a failure domain.
func IsBackendName(name string) bool { return providerRE.MatchString(name) }

// provider returns the backend with a name, or nil.
func (p *Provisioner) provider(name string) *backend {
	for _, b := range p.providers {
		if b.name == name {
			return b
		}
	}
	return nil
}
