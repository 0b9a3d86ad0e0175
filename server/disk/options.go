package disk

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"go.uber.org/zap"
)

// Sizes in bytes.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// Options is the policy of an [Opener]. The zero value is safe: no local files, no loopback, no link-local.
type Options struct {
	// MaxVirtualBytes is the maximum size of a disk; 2 TiB when zero.
	MaxVirtualBytes int64
	// MaxExpansion is how many times its compressed size a stream may grow to; 1000 when zero. The first 256 MiB are
	// always allowed, since a small disk that is nearly empty compresses better than that.
	MaxExpansion float64
	// MaxWindow limits the window of a compressed stream, in bytes; 128 MiB when zero, as zstd -22 and zstd --long require;
	// xz -9 needs 64. An image takes its window and less than 32 MiB more.
	MaxWindow int64
	// MaxMemory limits the memory of all transfers together, in bytes; 256 MiB when zero. Further transfers wait in order of
	// arrival. A transfer that needs more than the limit runs alone.
	MaxMemory int64

	// AllowAddresses are exempt from the refusal of loopback, link-local, multicast, unspecified and metadata addresses.
	AllowAddresses []netip.Prefix
	// FileRoots are the readable directories. A link that leads out of its root is refused.
	FileRoots []string
	// StagingRoot is the directory that contains the mounted claims of pvc://, one directory each; /mnt/migration-storage
	// when empty.
	StagingRoot string
	// MountsFile lists the mounts; /proc/self/mountinfo when empty.
	MountsFile string
	// PlainHTTPRegistries are the registries (host or host:port) that are accessed without TLS. Loopback always is.
	PlainHTTPRegistries []string
	// DockerConfig is the path of a Docker config.json with registry credentials. Its credential helpers are not run.
	DockerConfig string
	// S3 is the default service of s3:// sources.
	S3 S3

	// TLS is used for https; the system's roots when nil.
	TLS *tls.Config
	// Proxy selects a proxy per request, none when nil. A proxy resolves names itself and has to guard their addresses; literal
	// addresses are still refused here.
	Proxy func(*http.Request) (*url.URL, error)
	// StallTimeout is how long a transfer may stay silent before it is interrupted and resumed; 20 s when zero.
	StallTimeout time.Duration
	// Retry is the policy for resuming interrupted transfers.
	Retry RetryPolicy
	// Logger receives only interruptions. Silent when nil.
	Logger *zap.Logger
	// OnBytes receives the number of image bytes of each read; it must be quick and may be nil.
	OnBytes func(bytes int)
}

// RetryPolicy is an exponential backoff.
type RetryPolicy struct {
	// Attempts bounds the consecutive failures of a request; 5 when zero. Received bytes reset the count.
	Attempts uint
	// MinWait is the first pause, 500 ms when zero; each further pause is 1.5 times as long, give or take half.
	MinWait time.Duration
	// MaxWait is the longest pause, even if a server requests a longer one; 30 s when zero.
	MaxWait time.Duration
}

// S3 is an S3-compatible service.
type S3 struct {
	// Endpoint is a host, host:port or http(s) URL; AWS when empty.
	Endpoint string
	// Region is queried from the service when empty.
	Region string
	// PathStyle puts the bucket into the path, as most services other than AWS expect.
	PathStyle bool
	// Credentials are the default for sources without credentials.
	Credentials Credentials
}

// withDefaults fills in zero fields.
func (o Options) withDefaults() Options {
	o.MaxVirtualBytes = orDefault(o.MaxVirtualBytes, 2*tib)
	o.MaxExpansion = orDefault(o.MaxExpansion, 1000)
	o.MaxWindow = orDefault(o.MaxWindow, 128*mib)
	o.MaxMemory = orDefault(o.MaxMemory, defaultMemory)
	o.StagingRoot = orDefault(o.StagingRoot, stagingRoot)
	o.MountsFile = orDefault(o.MountsFile, mountsFile)
	o.StallTimeout = orDefault(o.StallTimeout, stallTimeout)
	o.Retry.Attempts = orDefault(o.Retry.Attempts, 5)
	o.Retry.MinWait = orDefault(o.Retry.MinWait, 500*time.Millisecond)
	o.Retry.MaxWait = orDefault(o.Retry.MaxWait, 30*time.Second)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.OnBytes == nil {
		o.OnBytes = func(int) {}
	}
	return o
}

// orDefault returns value unless it is zero.
func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
