package ownership

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

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Two clusters may run providers with the same id on one NAS by mistake, and the ids of their VMs are then equal. So the root of
// the tree on each pool carries a claim of its installation, and a provider of another installation changes nothing.

// An Installation distinguishes a deployment of a provider from others that have the same id.
type Installation struct {
	ID      string // storage.installation: the installation that owns the VMs; empty: the one that matches Owner and Cluster
	Owner   string // namespace/name of the Provider; empty: unknown
	Cluster string // differs between clusters; empty: unknown
}

// claimAge is the maximum age of the claims that admit a request.
const claimAge = 5 * time.Minute

// ErrForeign reports that the dataset belongs to another installation.
var ErrForeign = errors.New("belongs to another installation")

// Claim is the record of the installation at the root of a tree.
type Claim struct {
	Provider string // the id of the provider
	ID       string // the id of the installation

	dataset, owner, cluster string
}

// claimKey returns the user property with the claim of the providers with an id. Providers with different ids share a tree.
func claimKey(provider string) string {
	sum := sha256.Sum256([]byte(provider))
	return "virtrigaud:installation-" + hex.EncodeToString(sum[:6])
}

func (c Claim) encode() string {
	return url.Values{"provider": {c.Provider}, "dataset": {c.dataset}, "id": {c.ID}, "owner": {c.owner}, "cluster": {c.cluster}}.Encode()
}

// claimOf reads the claim on a root. A claim that the root inherited or that was replicated from elsewhere names another dataset.
func claimOf(d truenas.Dataset, provider string) (Claim, bool) {
	values, err := url.ParseQuery(d.UserProperties[claimKey(provider)])
	c := Claim{Provider: values.Get("provider"), ID: values.Get("id"), dataset: values.Get("dataset"), owner: values.Get("owner"), cluster: values.Get("cluster")}
	return c, err == nil && c.Provider == provider && c.dataset == d.ID && c.ID != ""
}

// accepts reports whether a claim belongs to this installation. An equal ID decides alone. A claim with another ID is that of this
// installation, which has got a new ID, only if the clusters are known and equal and the owners do not differ. Without a configured
// ID, no known field may differ.
func (i Installation) accepts(c Claim) bool {
	differs := func(own, other string) bool { return own != "" && other != "" && own != other }
	same := !differs(i.Owner, c.owner) && !differs(i.Cluster, c.cluster)
	if i.ID == "" || i.ID == c.ID {
		return i.ID != "" || same
	}
	return same && i.Cluster != "" && i.Cluster == c.cluster
}

// renewed returns the claim with the known fields of this installation.
func (i Installation) renewed(c Claim) Claim {
	for _, part := range []struct {
		to   *string
		from string
	}{{&c.ID, i.ID}, {&c.owner, i.Owner}, {&c.cluster, i.Cluster}} {
		if part.from != "" {
			*part.to = part.from
		}
	}
	if c.ID == "" {
		c.ID = rand.Text()[:16]
	}
	return c
}

// Claims holds the claims on the roots of all pools, as last read.
type Claims struct {
	nas      *truenas.Client
	provider string
	own      Installation
	layout   spec.Layout
	reread   func(context.Context) error // reads the roots again and calls [Claims.Learn]
	log      *zap.Logger

	mu    sync.Mutex
	read  time.Time
	roots map[string]rootState
}

// NewClaims returns the claims of an installation of a provider. reread reads the roots on all pools and passes them to
// [Claims.Learn]; it may do so less often than it is called.
func NewClaims(nas *truenas.Client, provider string, own Installation, layout spec.Layout, reread func(context.Context) error, log *zap.Logger) *Claims {
	return &Claims{nas: nas, provider: provider, own: own, layout: layout, reread: reread, log: log}
}

type rootState struct {
	claim    Claim
	outdated bool  // the claim is missing or incomplete
	foreign  error // the refusal if another installation owns the root
}

func (c *Claims) of(root string) (st rootState, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, exists = c.roots[root]
	return st, exists
}

func (c *Claims) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.read)
}

func (c *Claims) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.read.IsZero()
}

func (c *Claims) set(root string, st rootState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roots == nil {
		c.roots = map[string]rootState{}
	}
	c.roots[root] = st
}

// judge compares the claim on a root with this installation.
func (c *Claims) judge(d truenas.Dataset) rootState {
	claim, marked := claimOf(d, c.provider)
	if !marked {
		return rootState{claim: c.own.renewed(Claim{Provider: c.provider, dataset: d.ID}), outdated: true}
	}
	if !c.own.accepts(claim) {
		return rootState{claim: claim, foreign: foreign(d.ID, claim)}
	}
	renewed := c.own.renewed(claim)
	return rootState{claim: renewed, outdated: renewed != claim}
}

// foreign names the setting for each intention of the operator.
func foreign(dataset string, c Claim) error {
	whose := ""
	if c.owner != "" {
		whose = ", of the Provider " + c.owner
	}
	return fmt.Errorf("dataset %s %w of the provider %q (installation %s%s): if this installation replaces that one, set storage.installation to %s; "+
		"if both are in use, give this one an id or a storage.dataset of its own", dataset, ErrForeign, c.Provider, c.ID, whose, c.ID)
}

// Learn stores a reading of the roots on all pools.
func (c *Claims) Learn(datasets []truenas.Dataset) error {
	roots := map[string]rootState{}
	for _, d := range datasets {
		if d.ID == c.layout.Root(spec.PoolOf(d.ID)) {
			roots[d.ID] = c.judge(d)
		}
	}
	foreign := roots[c.layout.Dataset].foreign // Read before other goroutines may write to the map.
	c.mu.Lock()
	c.roots, c.read = roots, time.Now()
	c.mu.Unlock()
	return foreign
}

// Admit refuses any change in a tree of another installation. While the NAS is unavailable, Admit uses the last reading. It admits
// a key that may not read datasets, which cannot change them either.
func (c *Claims) Admit(ctx context.Context) error {
	if c.age() > claimAge {
		err := c.reread(ctx)
		if err != nil && !c.known() && !errors.Is(err, truenas.ErrPermission) {
			return err
		}
	}
	st, _ := c.of(c.layout.Dataset)
	return st.foreign
}

// EnsureRoot makes the root of the tree that is to contain a dataset, with this installation's claim on it.
func (c *Claims) EnsureRoot(ctx context.Context, dataset string) error {
	root := c.layout.Root(spec.PoolOf(dataset))
	st, exists := c.of(root)
	switch {
	case st.foreign != nil:
		return st.foreign
	case exists && !st.outdated:
		return nil
	case exists:
		return c.claimExisting(ctx, root)
	}
	d := truenas.Dataset{ID: root}
	st = c.judge(d)
	create := truenas.DatasetCreate{Name: root, CreateAncestors: path.Dir(root) != spec.PoolOf(root), UserProperties: map[string]string{claimKey(c.provider): st.claim.encode()}}
	_, err := c.nas.Datasets.Create(ctx, create)
	if err == nil {
		st.outdated = false
		c.set(root, st)
		return nil
	}
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	// Another replica or installation has made it since the roots were read.
	return c.claimExisting(ctx, root)
}

// claimExisting reads a root again and writes the claim if it is missing or outdated. The last reading may be as old as [claimAge], and
// another installation may have claimed the root since.
func (c *Claims) claimExisting(ctx context.Context, root string) error {
	d, err := c.nas.Datasets.Get(ctx, root)
	if err != nil {
		return err
	}
	st := c.judge(d)
	if st.foreign == nil && st.outdated {
		return c.stake(ctx, root, st)
	}
	c.set(root, st)
	return st.foreign
}

// stake writes the claim on a root with a missing or outdated claim, and then reads it back: of two installations that write at the
// same time, one is the last. A key that may not write it cannot change the tree either.
func (c *Claims) stake(ctx context.Context, root string, st rootState) error {
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{claimKey(c.provider): st.claim.encode()}}
	if _, err := c.nas.Datasets.Update(ctx, root, update); err != nil && !errors.Is(err, truenas.ErrPermission) {
		return err
	}
	d, err := c.nas.Datasets.Get(ctx, root)
	if err != nil {
		return err
	}
	st = c.judge(d)
	st.outdated = false
	c.set(root, st)
	return st.foreign
}

// Renew writes this installation's claim to an existing tree, as after an upgrade.
func (c *Claims) Renew(ctx context.Context) {
	if err := c.Admit(ctx); err != nil {
		if ctx.Err() == nil {
			c.log.Warn("the NAS cannot be used", zap.Error(err))
		}
		return
	}
	if st, exists := c.of(c.layout.Dataset); exists && st.outdated {
		if err := c.claimExisting(ctx, c.layout.Dataset); err != nil {
			c.log.Warn("cannot mark the dataset as this installation's", zap.Error(err))
			return
		}
		st, _ = c.of(c.layout.Dataset)
		c.log.Info("the dataset is this installation's", zap.String("dataset", c.layout.Dataset), zap.String("installation", st.claim.ID))
	}
}

// Of returns the claim on a root, if it has one, and whether it belongs to this installation.
func (c *Claims) Of(root truenas.Dataset) (claim Claim, marked, accepted bool) {
	claim, marked = claimOf(root, c.provider)
	return claim, marked, marked && c.own.accepts(claim)
}

// Note stores a reading of a root.
func (c *Claims) Note(root truenas.Dataset) { c.set(root.ID, c.judge(root)) }

// Foreign reports whether another installation owns the tree on a pool, if its root was read.
func (c *Claims) Foreign(pool string) bool { return c.foreign(c.layout.Root(pool)) }

// foreign reports whether another installation owns the tree below a root, if the root was read.
func (c *Claims) foreign(root string) bool {
	st, _ := c.of(root)
	return st.foreign != nil
}
