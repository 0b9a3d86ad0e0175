package server

import (
	"errors"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// Config is what a [Server] has to be told.
type Config struct {
	ID             string // the provider's id: what it makes on the NAS is marked with it
	Dataset        string // where everything lies, "tank/virtrigaud"
	DefaultNetwork string // the bridge or interface of NICs that name none; empty: they are refused
	AdoptedVMs     string // [Protect] or [Manage]
	Logger         *zap.Logger
}

// What may be done to VMs that were made by hand on the NAS.
const (
	Protect = "protect" // they are shown and powered, never deleted
	Manage  = "manage"  // they are treated like the provider's own
)

// Server is the provider.v1 service of one NAS.
type Server struct {
	providerv1.UnimplementedProviderServer

	cfg       Config
	layout    layout
	nas       *truenas.Client
	inventory *inventory
	health    *health
	locks     locks
	log       *zap.Logger
}

// New makes the service; it asks nothing of the NAS yet.
func New(nas *truenas.Client, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.AdoptedVMs == "" {
		cfg.AdoptedVMs = Protect
	}
	switch {
	case cfg.ID == "":
		return nil, errors.New("server: the provider's id must not be empty")
	case !validDataset(cfg.Dataset):
		return nil, errors.New("server: the dataset must be a path below a pool, such as tank/virtrigaud")
	case cfg.AdoptedVMs != Protect && cfg.AdoptedVMs != Manage:
		return nil, errors.New("server: adopted VMs are either protect or manage")
	}
	s := &Server{cfg: cfg, layout: layout{cfg.Dataset}, nas: nas, inventory: newInventory(nas), health: newHealth(nas, cfg.Dataset), log: cfg.Logger}
	return s, nil
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { providerv1.RegisterProviderServer(r, s) }

// Close stops listening to the NAS's events; the client stays open.
func (s *Server) Close() { s.inventory.close() }
