package truenas

import (
	"context"
	"time"
)

// A Client talks to one NAS over one connection.
type Client struct {
	VMs       VMs
	Devices   Devices
	Datasets  Datasets
	Snapshots Snapshots
	Jobs      Jobs
	System    System
	Files     Files
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
}

// New checks the configuration. It dials nothing: the first call does.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client{}
	c.VMs, c.Devices, c.Datasets, c.Snapshots = VMs{c}, Devices{c}, Datasets{c}, Snapshots{c}
	c.Jobs, c.System, c.Files = Jobs{c}, System{c}, Files{c}
	return c, nil
}

func (c *Client) Connect(ctx context.Context) error { return errTODO }
func (c *Client) Close() error                      { return nil }
func (c *Client) Release() Release                  { return Release{} }
func (c *Client) Status() Status                    { return Status{} }
