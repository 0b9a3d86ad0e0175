package truenas

import (
	"context"
	"time"
)

// A Client talks to one NAS over one connection. Its fields group the API's methods.
type Client struct {
	VMs       VMs
	Devices   Devices
	Datasets  Datasets
	Snapshots Snapshots
	Jobs      Jobs
	System    System
	Files     Files

	s *session
}

// Status describes the connection.
type Status struct {
	Connected bool
	Err       error     // why it is not connected
	Since     time.Time // time of the last change
	Endpoint  string    // wss://nas/api/v25.10.1
	System    string    // "TrueNAS-25.10.1"
	Roles     []string  // of the key's user
	Latency   time.Duration
	// Certificate is the SHA-256 of the NAS's certificate in hexadecimal with colons, and Trust the
	// reason to accept it. Both are empty without TLS.
	Certificate string
	Trust       Trust
}

// Trust is the reason for accepting the NAS's certificate.
type Trust string

// Values of [Trust].
const (
	TrustPinned  Trust = "pinned"  // its fingerprint is configured
	TrustChain   Trust = "chain"   // a trusted authority signed it
	TrustNothing Trust = "nothing" // it is not verified
)

// New checks the configuration. The first call connects.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s, err := newSession(cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	c := &Client{s: s}
	c.VMs, c.Devices, c.Datasets, c.Snapshots = VMs{c}, Devices{c}, Datasets{c}, Snapshots{c}
	c.Jobs, c.System, c.Files = Jobs{c}, System{c}, Files{c}
	return c, nil
}

// Connect returns when the client is logged in. It returns permanent failures at once: [ErrAuth],
// [ErrUnsupported] and [ErrCertificate]. It retries all others until ctx ends.
func (c *Client) Connect(ctx context.Context) error {
	_, err := c.s.connected(ctx, 0)
	return err
}

// Close ends the connection and all calls, and returns when all goroutines have ended. It must not
// be called from a listener.
func (c *Client) Close() error {
	c.s.close()
	return nil
}

// Release returns the pinned release of the API, or zero before the first connection.
func (c *Client) Release() Release {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.st.release
}

// Status returns the state of the connection. It makes no call.
func (c *Client) Status() Status { return c.s.status() }

// RunningJobs returns the unfinished jobs that this client started or waits for, ordered by id. It makes no call, because events
// report the jobs.
func (c *Client) RunningJobs() []Job { return c.s.runningJobs() }

// Subscribe calls fn for every event of a collection such as vm.query, in order and from one
// goroutine, until cancel is called. fn receives [EventReset] after each connection, once TrueNAS
// has confirmed the subscription, and [EventLost] when the connection is lost. A collection that
// the key may not read gets no EventReset.
func (c *Client) Subscribe(collection string, fn func(Event)) (cancel func()) {
	l := c.s.subscribe(collection, fn)
	return func() { c.s.unsubscribe(collection, l) }
}

// Heard returns the number of the last event received, delivered or not; see [Event.Seq]. The reply
// to a later call reflects the cause of each of those events.
func (c *Client) Heard() uint64 {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.st.heard
}

// ready returns the release. It waits for the first connection as a call does.
func (c *Client) ready(ctx context.Context) (Release, error) {
	if r := c.Release(); !r.IsZero() {
		return r, nil
	}
	return c.s.connected(ctx, c.s.cfg.ConnectWait)
}

// need returns an error if the release lacks a method.
func (c *Client) need(ctx context.Context, method string, from, until Release) error {
	release, err := c.ready(ctx)
	if err != nil {
		return err
	}
	return release.needs(method, from, until)
}
