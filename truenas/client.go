package truenas

import (
	"context"
	"time"
)

// A Client talks to one NAS over one connection. Its fields are the parts of
// the API.
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
	Since     time.Time // when it came to be so
	Endpoint  string    // wss://nas/api/v25.10.1
	System    string    // "TrueNAS-25.10.1"
	Roles     []string  // of the key's user
	Latency   time.Duration
	// Certificate is the SHA-256 of the NAS's certificate in hexadecimal, with
	// colons, and Trust why it is believed. Both are empty without TLS.
	Certificate string
	Trust       Trust
}

// Trust is why the NAS's certificate is believed.
type Trust string

// Values of [Trust].
const (
	TrustPinned  Trust = "pinned"  // it is the one that the configuration names
	TrustChain   Trust = "chain"   // an authority that is trusted signed it
	TrustNothing Trust = "nothing" // it was not checked
)

// New checks the configuration. It dials nothing: the first call does.
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

// Connect returns when the client is logged in. What will not pass by itself,
// [ErrAuth], [ErrUnsupported] and [ErrCertificate], is returned at once;
// anything else is tried again until ctx ends.
func (c *Client) Connect(ctx context.Context) error {
	_, err := c.s.connected(ctx, 0)
	return err
}

// Close ends the connection and every call, and returns when no goroutine is
// left. It must not be called from a listener.
func (c *Client) Close() error {
	c.s.close()
	return nil
}

// Release is the release that the connection is pinned to; zero before the
// first connection.
func (c *Client) Release() Release {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.st.release
}

// Status costs no call.
func (c *Client) Status() Status { return c.s.status() }

// RunningJobs are the jobs that this client began or waits for and that have
// not ended, as far as events have told, in the order of their ids. It costs
// no call.
func (c *Client) RunningJobs() []Job { return c.s.runningJobs() }

// Subscribe calls fn for every event of a collection such as vm.query, in order
// and from one goroutine, until cancel is called. fn hears [EventReset] after
// each connection once TrueNAS has confirmed the subscription, and [EventLost]
// when the connection is lost. A collection that the key may not read is never
// reset.
func (c *Client) Subscribe(collection string, fn func(Event)) (cancel func()) {
	l := c.s.subscribe(collection, fn)
	return func() { c.s.unsubscribe(collection, l) }
}

// Heard is the number of the last event that arrived, delivered or not: see
// [Event.Seq]. The reply to a call that is made after shows the cause of each of
// those events.
func (c *Client) Heard() uint64 {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.st.heard
}

// ready is the release, waiting for the first connection as a call would.
func (c *Client) ready(ctx context.Context) (Release, error) {
	if r := c.Release(); !r.IsZero() {
		return r, nil
	}
	return c.s.connected(ctx, c.s.cfg.ConnectWait)
}

// need refuses a method that the release lacks.
func (c *Client) need(ctx context.Context, method string, from, until Release) error {
	release, err := c.ready(ctx)
	if err != nil {
		return err
	}
	return release.needs(method, from, until)
}
