package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/background"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/doctor"
	"virtrigaud-provider-truenas/server/inventory"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/placement"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Config configures a [Server].
type Config struct {
	ID             string // the provider's id: it marks the provider's objects on the NAS
	Dataset        string // the root of the provider's objects, such as "tank/virtrigaud"
	NetworkBootISO string // the CD-ROM image on the NAS for network boot, such as /mnt/tank/iso/ipxe.iso; empty: none
	DefaultNetwork string // the bridge or interface for a NIC that names none; empty: such a NIC is refused
	AdoptedVMs     string // [Protect] or [Manage]
	Instance       string // identifies this process among replicas, and stays the same after a restart; empty: the host's name
	Disk           disk.Options
	Installation   Installation
	NASPaths       []string      // datasets whose volumes, snapshots and image files VMs may use by path, in addition to prepared images and imported disks
	AllowedPools   []string      // pools for VMs and images; empty: any pool by its name, and that of Dataset without a name
	ChoosePool     string        // an expression of package placement that selects among AllowedPools; empty: its default
	UnusedImages   time.Duration // an image without clones is removed when it was unused for this long; 0: never
	LeaseFor       time.Duration // a replica that prepares an image counts as dead after this long without a heartbeat; 0: 90 s
	CloneWithin    time.Duration // a full clone that takes longer returns a task; 0: 5 s
	Hooks          Hooks
	Logger         *zap.Logger
}

// Installation distinguishes a deployment of a provider from others that have the same id.
type Installation = ownership.Installation

// Hooks let metrics and traces observe background work. They must be quick, and may be nil.
type Hooks struct {
	// OnImage is called after each preparation of an image, except for one that the end of the process interrupted.
	OnImage func(took time.Duration, err error)
	// OnLegacyImage is called for each ImagePrepare of a manager before line 0.4.
	OnLegacyImage func()
	// Trace is called before each background work; the work uses the returned context, and calls the returned function at
	// its end.
	Trace func(ctx context.Context, name string) (context.Context, func(error))
}

// The permitted operations on VMs that a user made on the NAS.
const (
	Protect = "protect" // show and power, never delete
	Manage  = "manage"  // delete and change, too; Delete leaves their volumes
)

// Server is the provider.v1 service of a NAS.
type Server struct {
	providerv1.UnimplementedProviderServer

	cfg       Config
	layout    spec.Layout
	nas       *truenas.Client
	inventory *inventory.Cache
	flight    singleflight.Group // shared calls: the list of volumes, the datasets of VMs
	health    *health
	opener    *disk.Opener
	rule      *placement.Rule
	images    *landing.Images
	lander    *landing.Lander
	mover     *diskio.Mover
	doctor    *doctor.Doctor
	clones    *background.Works[copying] // by the clone's id
	waiting   waiting

	newerManager atomic.Bool // a request of a manager of line 0.4 or later was seen

	claims      *ownership.Claims
	marks       *ownership.Marks
	leases      *lease.Leases
	addresses   *inventory.Addresses
	locks       lease.Locks
	incomplete  idSet // VMs that this process has found incomplete, see [Server.single]
	seenRunning idSet // VMs that this process has seen running, and not confirmed as off since
	log         *zap.Logger

	ctx        context.Context // the context of background work; ends with the server
	end        context.CancelFunc
	seenImages seen[[]landing.ImageState]
	seenStock  seen[Stock]
	background sync.WaitGroup // reads without a waiting caller
}

// New makes the service; it makes no calls to the NAS.
func New(nas *truenas.Client, cfg Config) (*Server, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	switch {
	case cfg.ID == "":
		return nil, errors.New("server: the provider's id must not be empty")
	case !spec.ValidDataset(cfg.Dataset):
		return nil, errors.New("server: the dataset must be a path below a pool, such as tank/virtrigaud")
	case cfg.AdoptedVMs != Protect && cfg.AdoptedVMs != Manage:
		return nil, errors.New("server: adopted VMs: allowed are protect and manage")
	}
	rule, err := placement.Parse(cfg.ChoosePool)
	if err != nil {
		return nil, fmt.Errorf("storage.choose_pool: %w", err)
	}
	opener, err := disk.New(cfg.Disk)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, layout: spec.Layout{Dataset: cfg.Dataset}, nas: nas, inventory: inventory.New(nas), health: newHealth(nas, cfg.Dataset), opener: opener, rule: rule, addresses: inventory.NewAddresses(nas), log: cfg.Logger}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.claims = ownership.NewClaims(nas, cfg.ID, cfg.Installation, s.layout, s.health.check, s.log)
	s.marks = ownership.NewMarks(nas, cfg.ID, s.layout, s.claims)
	s.leases = lease.New(s.ctx, nas, lease.Config{Provider: cfg.ID, Instance: cfg.Instance, Age: cfg.LeaseFor, Layout: s.layout, Claims: s.claims})
	s.health.roots, s.health.pattern = s.claims.Learn, s.layout.RootsPattern()
	s.lander = landing.NewLander(nas, opener, s.leases, &s.locks, s.claims)
	s.images = landing.NewImages(s.ctx, s.lander, landing.ImagesConfig{
		Provider: cfg.ID, Layout: s.layout, NASPaths: cfg.NASPaths, Conflict: isConflict, Changed: s.seenImages.invalidate,
		OnImage: cfg.Hooks.OnImage, Trace: cfg.Hooks.Trace, Log: s.log,
	})
	s.mover = diskio.New(nas, diskio.Config{
		Provider: cfg.ID, Layout: s.layout, Lander: s.lander, Leases: s.leases, Locks: &s.locks, Marks: s.marks, Opener: opener, Log: s.log,
		Current: s.current, CheckComplete: s.checkComplete, Permit: s.needUpload,
	})
	s.doctor = doctor.New(nas, doctor.Config{
		Provider: cfg.ID, Layout: s.layout, Claims: s.claims, Marks: s.marks, Leases: s.leases, Mover: s.mover, Log: s.log,
		CheckComplete: s.checkComplete, Remove: s.removeLeftover,
	})
	s.clones = background.New[copying](s.ctx, func(err error) bool { return !isRetryable(err) })
	return s, nil
}

// defaults fills in omitted fields.
func (c *Config) defaults() (err error) {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.AdoptedVMs == "" {
		c.AdoptedVMs = Protect
	}
	if c.LeaseFor == 0 {
		c.LeaseFor = lease.DefaultAge
	}
	if c.CloneWithin == 0 {
		c.CloneWithin = cloneWithin
	}
	if c.Hooks.OnImage == nil {
		c.Hooks.OnImage = func(time.Duration, error) {}
	}
	if c.Hooks.OnLegacyImage == nil {
		c.Hooks.OnLegacyImage = func() {}
	}
	if c.Hooks.Trace == nil {
		c.Hooks.Trace = func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	if c.Instance == "" {
		c.Instance, err = os.Hostname()
	}
	return err
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { providerv1.RegisterProviderServer(r, s) }

// Connect returns after the NAS has accepted the login. It retries until ctx ends, unless the NAS refuses for a permanent reason.
// The RPCs connect by themselves.
func (s *Server) Connect(ctx context.Context) error { return s.nas.Connect(ctx) }

// Close ends the background work, which the next process resumes from the state of the NAS. The client stays open.
func (s *Server) Close() error {
	s.end()
	s.images.Wait()
	s.clones.Wait()
	s.background.Wait()
	s.addresses.Close()
	s.inventory.Close()
	return s.opener.Close()
}
