package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Two clusters may run providers of the same id on one NAS by mistake, and the ids of their VMs are then the same. So the root of
// the tree on each pool carries a claim of the installation that uses it, and a provider of another installation changes nothing.

// An Installation distinguishes a deployment of a provider from others that have the same id.
type Installation struct {
	ID      string // storage.installation: the installation whose VMs these are; empty: the one that Owner and Cluster fit
	Owner   string // namespace/name of the Provider; empty: not known
	Cluster string // differs between clusters; empty: not known
}

// claimAge is how old the reading of the claims may be by which a request is admitted.
const claimAge = 5 * time.Minute

// errForeign says that the dataset belongs to another installation.
var errForeign = errors.New("belongs to another installation")

// rootClaim says which installation uses a tree.
type rootClaim struct {
	provider, dataset, id, owner, cluster string
}

// claimKey is the user property that holds the claim of the providers with an id. Providers of different ids share a tree.
func claimKey(provider string) string {
	sum := sha256.Sum256([]byte(provider))
	return "virtrigaud:installation-" + hex.EncodeToString(sum[:6])
}

func (c rootClaim) encode() string {
	return url.Values{"provider": {c.provider}, "dataset": {c.dataset}, "id": {c.id}, "owner": {c.owner}, "cluster": {c.cluster}}.Encode()
}

// claimOf reads the claim on a root. A claim that the root inherited or that was replicated from elsewhere names another dataset.
func claimOf(d truenas.Dataset, provider string) (rootClaim, bool) {
	values, err := url.ParseQuery(d.UserProperties[claimKey(provider)])
	c := rootClaim{values.Get("provider"), values.Get("dataset"), values.Get("id"), values.Get("owner"), values.Get("cluster")}
	return c, err == nil && c.provider == provider && c.dataset == d.ID && c.id != ""
}

// accepts reports whether a claim is this installation's. An installation that was named outright goes by that name alone,
// unless it is certainly the same one under a new name.
func (i Installation) accepts(c rootClaim) bool {
	differs := func(own, other string) bool { return own != "" && other != "" && own != other }
	same := !differs(i.Owner, c.owner) && !differs(i.Cluster, c.cluster)
	if i.ID == "" || i.ID == c.id {
		return i.ID != "" || same
	}
	return same && i.Cluster != "" && i.Cluster == c.cluster
}

// renewed is the claim with the known fields of this installation.
func (i Installation) renewed(c rootClaim) rootClaim {
	for _, part := range []struct {
		to   *string
		from string
	}{{&c.id, i.ID}, {&c.owner, i.Owner}, {&c.cluster, i.Cluster}} {
		if part.from != "" {
			*part.to = part.from
		}
	}
	if c.id == "" {
		c.id = rand.Text()[:16]
	}
	return c
}

// claims are the roots as they were read last.
type claims struct {
	mu    sync.Mutex
	read  time.Time
	roots map[string]rootState
}

type rootState struct {
	claim    rootClaim
	outdated bool  // the claim is missing, or lacks something
	foreign  error // it is another installation's
}

func (c *claims) of(root string) (st rootState, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, exists = c.roots[root]
	return st, exists
}

func (c *claims) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.read)
}

func (c *claims) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.read.IsZero()
}

func (c *claims) set(root string, st rootState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roots == nil {
		c.roots = map[string]rootState{}
	}
	c.roots[root] = st
}

// judgeRoot compares the claim on a root with this installation.
func (s *Server) judgeRoot(d truenas.Dataset) rootState {
	own := s.cfg.Installation
	c, marked := claimOf(d, s.cfg.ID)
	if !marked {
		return rootState{claim: own.renewed(rootClaim{provider: s.cfg.ID, dataset: d.ID}), outdated: true}
	}
	if !own.accepts(c) {
		return rootState{claim: c, foreign: foreign(d.ID, c)}
	}
	renewed := own.renewed(c)
	return rootState{claim: renewed, outdated: renewed != c}
}

// foreign says what to set, which depends on what the operator wants.
func foreign(dataset string, c rootClaim) error {
	whose := ""
	if c.owner != "" {
		whose = ", of the Provider " + c.owner
	}
	return fmt.Errorf("dataset %s %w of the provider %q (installation %s%s): if this installation replaces that one, set storage.installation to %s; "+
		"if both are in use, give this one an id or a storage.dataset of its own", dataset, errForeign, c.provider, c.id, whose, c.id)
}

// learnRoots takes a reading of the roots on all pools.
func (s *Server) learnRoots(datasets []truenas.Dataset) error {
	roots := map[string]rootState{}
	for _, d := range datasets {
		if d.ID == s.layout.Root(spec.PoolOf(d.ID)) {
			roots[d.ID] = s.judgeRoot(d)
		}
	}
	foreign := roots[s.cfg.Dataset].foreign // Before others may write to the map.
	s.claims.mu.Lock()
	s.claims.roots, s.claims.read = roots, time.Now()
	s.claims.mu.Unlock()
	return foreign
}

// admit refuses to change anything in a tree that another installation uses. While the NAS is away, what was read before counts. A
// key that may not see datasets can do nothing to them.
func (s *Server) admit(ctx context.Context) error {
	if s.claims.age() > claimAge {
		err := s.health.check(ctx)
		if err != nil && !s.claims.known() && !errors.Is(err, truenas.ErrPermission) {
			return err
		}
	}
	st, _ := s.claims.of(s.cfg.Dataset)
	return st.foreign
}

// admitting is admit before the requests that change something.
func (s *Server) admitting(handle grpc.UnaryHandler) grpc.UnaryHandler {
	return func(ctx context.Context, req any) (any, error) {
		switch req.(type) {
		case *providerv1.CreateRequest, *providerv1.DeleteRequest, *providerv1.PowerRequest, *providerv1.ReconfigureRequest,
			*providerv1.SnapshotCreateRequest, *providerv1.SnapshotDeleteRequest, *providerv1.SnapshotRevertRequest,
			*providerv1.CloneRequest, *providerv1.ImagePrepareRequest, *providerv1.ImportDiskRequest, *providerv1.ExportDiskRequest:
			if err := s.admit(ctx); err != nil {
				return nil, err
			}
		}
		return handle(ctx, req)
	}
}

// ensureRoot has the root of the tree that a dataset is to lie in, with this installation's claim on it.
func (s *Server) ensureRoot(ctx context.Context, dataset string) error {
	root := s.layout.Root(spec.PoolOf(dataset))
	st, exists := s.claims.of(root)
	switch {
	case st.foreign != nil:
		return st.foreign
	case exists && !st.outdated:
		return nil
	case exists:
		return s.stake(ctx, root, st)
	}
	d := truenas.Dataset{ID: root}
	st = s.judgeRoot(d)
	create := truenas.DatasetCreate{Name: root, CreateAncestors: path.Dir(root) != spec.PoolOf(root), UserProperties: map[string]string{claimKey(s.cfg.ID): st.claim.encode()}}
	_, err := s.nas.Datasets.Create(ctx, create)
	if err == nil {
		st.outdated = false
		s.claims.set(root, st)
		return nil
	}
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	// It was made since the roots were read, by another replica or by another installation.
	if d, err = s.nas.Datasets.Get(ctx, root); err != nil {
		return err
	}
	if st = s.judgeRoot(d); st.foreign == nil && st.outdated {
		return s.stake(ctx, root, st)
	}
	s.claims.set(root, st)
	return st.foreign
}

// stake writes the claim on a root that has none, or an outdated one, and looks whose is there then: of two installations that
// write at the same time, one is the last. A key that may not do so can change nothing in the tree either.
func (s *Server) stake(ctx context.Context, root string, st rootState) error {
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{claimKey(s.cfg.ID): st.claim.encode()}}
	if _, err := s.nas.Datasets.Update(ctx, root, update); err != nil && !errors.Is(err, truenas.ErrPermission) {
		return err
	}
	d, err := s.nas.Datasets.Get(ctx, root)
	if err != nil {
		return err
	}
	st = s.judgeRoot(d)
	st.outdated = false
	s.claims.set(root, st)
	return st.foreign
}

// RenewClaim stakes this installation's claim where the tree is there already, as after an upgrade.
func (s *Server) RenewClaim(ctx context.Context) {
	if err := s.admit(ctx); err != nil {
		s.log.Warn("the NAS cannot be used", zap.Error(err))
		return
	}
	if st, exists := s.claims.of(s.cfg.Dataset); exists && st.outdated {
		if err := s.stake(ctx, s.cfg.Dataset, st); err != nil {
			s.log.Warn("cannot mark the dataset as this installation's", zap.Error(err))
			return
		}
		st, _ = s.claims.of(s.cfg.Dataset)
		s.log.Info("the dataset is this installation's", zap.String("dataset", s.cfg.Dataset), zap.String("installation", st.claim.id))
	}
}
