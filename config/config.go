// Package config reads the provider's settings: a YAML file, overridden by the environment, overridden by the command line.
//
// All three override the credentials directory, where Kubernetes mounts the Secret of a Provider as one file per key. So a pod
// started by VirtRigaud's manager needs no settings file, and a manual start needs no pod:
//
//	cfg, err := config.Load(flags, os.LookupEnv)
//
// Every setting has one name, which is its place in the file ("truenas.url"). [Load] reports all mistakes together, each with
// that name and the source of the value, and makes no connection. An empty environment variable counts as absent, because the
// manager sets variables without a value. A [Secret] never prints its text.
package config

import (
	"net/netip"
	"path"
	"time"
)

// Config contains the settings. Load fills in defaults and reads files.
type Config struct {
	// ID distinguishes this provider from others that use the same NAS. The provider marks everything it creates with
	// its ID, and does not recognize it with another ID.
	ID string
	// Owner is the namespace and the name of the Provider, "namespace/name". Empty outside of a pod of VirtRigaud's manager.
	Owner string
	// Listen is the address of the gRPC service, "host:port". An empty host means every address of the host.
	Listen string
	// HealthListen is the address of /healthz, /readyz and /metrics. If it is empty, they are not served.
	HealthListen string
	// StatusPage enables the status page at that address.
	StatusPage bool
	TrueNAS    TrueNAS
	Storage    Storage
	Network    Network
	Images     Images
	TLS        TLS
	Redfish    Redfish
	Log        Log
	// AdoptedVMs determines whether Delete deletes VMs that the provider did not create: "protect" refuses, "manage"
	// deletes.
	AdoptedVMs string
	// Warnings are remarks for the log, such as a variable without effect on TrueNAS.
	Warnings []string
}

// TrueNAS is the NAS and how to log in to it.
type TrueNAS struct {
	URL      string // https://host[:port]
	Username string // the user that the API key belongs to
	APIKey   Secret
	CA       []byte // PEM of the authorities to trust; empty: those of the system
	// Fingerprint is the SHA-256 of the NAS's certificate in hex. It replaces the check of the chain and the host name.
	Fingerprint        string
	InsecureSkipVerify bool
}

// Storage has the settings of the provider's datasets.
type Storage struct {
	Dataset string // the root of the provider's tree, such as "tank/virtrigaud"
	// Installation names the installation that owns the VMs in the dataset. Default: derived from the Provider and the
	// cluster.
	Installation string
	// AllowedPools are the pools for VMs and images; the provider chooses one of them for a VM or image that names none. If
	// it is empty, every pool is allowed by name, and the dataset's pool is used for the others.
	AllowedPools []string
	// ChoosePool is an expression in CEL that is true of the pools to choose from. Empty: those that are healthy.
	ChoosePool string
}

// Pool returns the pool of the dataset.
func (s Storage) Pool() string {
	for {
		parent := path.Dir(s.Dataset)
		if parent == "." || parent == "/" {
			return s.Dataset
		}
		s.Dataset = parent
	}
}

// Network are the defaults for VMs that omit these settings.
type Network struct {
	// DefaultNIC is the bridge or interface of the NAS for a network without one. Empty: such a network is refused.
	DefaultNIC string
	// BootISO is the path on the NAS of the CD-ROM image with which VMs boot from the network. Empty: they cannot.
	BootISO string
}

// Images has the settings of images.
type Images struct {
	// UnusedFor is how long an image without clones is kept after its last use. 0: forever.
	UnusedFor time.Duration
	// MaxGiB is the largest accepted disk, and MaxExpansion the maximum ratio of an image's size to its compressed size. 0
	// selects the default of the pipeline.
	MaxGiB       int64
	MaxExpansion float64
	// MemoryMiB is the memory limit of all image and export transfers together. 0: it depends on the container's limit.
	MemoryMiB int64
	// AllowAddresses are addresses that images may come from although they are loopback, link-local or otherwise refused.
	AllowAddresses []netip.Prefix
	// NASPaths are datasets of the NAS. A VM may use the volumes and snapshots below them by path. If it is empty, only
	// images that the provider prepared or imported are allowed.
	NASPaths []string
	// FileRoots are the folders of this host that images may be read from. Empty: none.
	FileRoots []string
	// PlainHTTPRegistries are registries without TLS, "host" or "host:port".
	PlainHTTPRegistries []string
	DockerConfig        string // path of a Docker config.json with credentials of registries
	S3                  S3
}

// S3 has the settings of s3:// URLs.
type S3 struct {
	Endpoint        string // empty: AWS
	Region          string
	PathStyle       bool
	AccessKeyID     string
	SecretAccessKey Secret
}

// TLS has the settings of the provider's own service.
type TLS struct {
	// Dir contains tls.crt, tls.key and ca.crt. With all three, clients must present a certificate. Without any, the service uses
	// plaintext, where allowed.
	Dir string
	// AllowedSANs lists names, one of which a client's certificate must contain. If it is empty, every certificate is
	// allowed.
	AllowedSANs []string
	// Insecure allows plaintext on addresses other than loopback.
	Insecure bool
}

// Log has the settings of the provider's log.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // json or console
}

func defaults() Config {
	return Config{
		Listen:     "127.0.0.1:9443",
		TLS:        TLS{Dir: "/etc/virtrigaud/tls"},
		Log:        Log{Level: "info", Format: "json"},
		AdoptedVMs: "protect",
		StatusPage: true,
	}
}
