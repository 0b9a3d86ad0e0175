package ownership

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

const (
	root   = "tank/virtrigaud"
	beside = "flash/virtrigaud"
)

// claimant is an installation on a NAS.
type claimant struct {
	*Claims
	t   *testing.T
	api *truenas.Client
	nas *sim.Sim
}

func newClaimant(t *testing.T) claimant {
	t.Helper()
	api, nas := truenastest.New(t, func(c *sim.Config) {
		c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "flash", SizeBytes: 1 << 40}}
	})
	return claimant{t: t, api: api, nas: nas}.as(Installation{Owner: "ns/a", Cluster: "one"})
}

// as is another installation on the same NAS.
func (c claimant) as(own Installation) claimant {
	c.Claims = NewClaims(c.api, "p", own, spec.Layout{Dataset: root}, func(context.Context) error { return nil }, zap.NewNop())
	return c
}

// read reads the roots again.
func (c claimant) read() error {
	c.t.Helper()
	list, err := c.api.Datasets.List(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return c.Learn(list)
}

// on is the claim on a root, and whether it is this installation's.
func (c claimant) on(id string) (claim Claim, marked, accepted bool) {
	c.t.Helper()
	d, err := c.api.Datasets.Get(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.Of(d)
}

// TestAccepts: an installation goes by the id that it was given, and else by its owner and its cluster as far as both are known.
func TestAccepts(t *testing.T) {
	claim := Claim{ID: "1", owner: "ns/a", cluster: "one"}
	for _, tt := range []struct {
		own  Installation
		c    Claim
		want bool
	}{
		{Installation{Owner: "ns/a", Cluster: "one"}, claim, true}, {Installation{}, claim, true}, {Installation{Owner: "ns/a"}, claim, true}, {Installation{Cluster: "one"}, claim, true},
		{Installation{Owner: "ns/b", Cluster: "one"}, claim, false}, {Installation{Owner: "ns/a", Cluster: "two"}, claim, false},
		{Installation{Owner: "ns/b", Cluster: "two"}, Claim{ID: "1"}, true},
		{Installation{ID: "1", Owner: "ns/b", Cluster: "two"}, claim, true}, {Installation{ID: "1"}, claim, true},
		{Installation{ID: "2", Owner: "ns/a", Cluster: "one"}, claim, true}, // the same under a new name
		{Installation{ID: "2", Owner: "ns/b", Cluster: "one"}, claim, false}, {Installation{ID: "2", Owner: "ns/a", Cluster: "two"}, claim, false},
		{Installation{ID: "2", Owner: "ns/a"}, claim, false}, {Installation{ID: "2", Cluster: "one"}, Claim{ID: "1"}, false}, {Installation{ID: "2"}, claim, false},
	} {
		if got := tt.own.accepts(tt.c); got != tt.want {
			t.Errorf("%+v and %+v: got %t", tt.own, tt.c, got)
		}
	}
}

// TestClaimOf: a claim of another provider, of another dataset, or without an installation is none.
func TestClaimOf(t *testing.T) {
	whole := Claim{Provider: "p", ID: "1", dataset: root, owner: "ns/a", cluster: "one"}
	on := func(c Claim) truenas.Dataset {
		return truenas.Dataset{ID: root, UserProperties: map[string]string{claimKey("p"): c.encode()}}
	}
	if got, ok := claimOf(on(whole), "p"); !ok || got != whole {
		t.Errorf("got %+v, %t", got, ok)
	}
	for name, change := range map[string]func(*Claim){
		"provider": func(c *Claim) { c.Provider = "q" }, "dataset": func(c *Claim) { c.dataset = beside }, "installation": func(c *Claim) { c.ID = "" },
	} {
		changed := whole
		change(&changed)
		if got, ok := claimOf(on(changed), "p"); ok {
			t.Errorf("another %s: %+v", name, got)
		}
	}
	if got, ok := claimOf(truenas.Dataset{ID: root, UserProperties: map[string]string{claimKey("p"): "%zz"}}, "p"); ok {
		t.Errorf("a damaged claim: %+v", got)
	}
}

// TestEnsureRoot makes the root of a tree with a claim, or claims one that exists, and refuses one of another installation, even if
// it was made since the roots were read.
func TestEnsureRoot(t *testing.T) {
	made := func(dataset string) func(claimant) error {
		return func(c claimant) error { return c.nas.AddDataset(dataset, nil) }
	}
	claimed := func(c claimant) error {
		return c.as(Installation{Owner: "ns/b", Cluster: "two"}).EnsureRoot(c.t.Context(), root+"/vms/a")
	}
	for _, tt := range []struct {
		name    string
		before  func(claimant) error // before the roots are read
		after   func(claimant) error // after that
		foreign bool
	}{
		{"no root", nil, nil, false},
		{"a root without a claim", made(root), nil, false},
		{"a root that was just made", nil, made(root), false},
		{"another installation's", claimed, nil, true},
		{"another installation's, that was just made", nil, claimed, true},
		{"a root that another installation has just claimed", made(root), claimed, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClaimant(t)
			if tt.before != nil {
				if err := tt.before(c); err != nil {
					t.Fatal(err)
				}
			}
			_ = c.read()
			if tt.after != nil {
				if err := tt.after(c); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := c.EnsureRoot(t.Context(), root+"/vms/a"); errors.Is(err, ErrForeign) != tt.foreign || (err == nil) == tt.foreign {
					t.Errorf("got %v", err)
				}
			}
			if claim, marked, accepted := c.on(root); !marked || accepted == tt.foreign {
				t.Errorf("the root has %+v, %t, %t", claim, marked, accepted)
			}
			if got := c.Foreign("tank"); got != tt.foreign {
				t.Errorf("foreign: %t", got)
			}
			if err := c.Admit(t.Context()); errors.Is(err, ErrForeign) != tt.foreign {
				t.Errorf("admitted: %v", err)
			}
			calls := len(c.nas.Calls())
			_ = c.EnsureRoot(t.Context(), root+"/vms/b")
			if got := len(c.nas.Calls()) - calls; got > 0 {
				t.Errorf("%d calls for a root that is known", got)
			}
		})
	}
}

// TestFailuresOfClaims: a root that cannot be made, claimed or read is refused, and known by no claim.
func TestFailuresOfClaims(t *testing.T) {
	for name, tt := range map[string]struct {
		fault sim.Fault
		there bool // when the roots are read
		made  bool // after that
	}{
		"it cannot be made":                     {sim.Fault{Method: "pool.dataset.create", Then: sim.Refuse}, false, false},
		"it cannot be claimed":                  {sim.Fault{Method: "pool.dataset.update", Then: sim.Refuse}, true, false},
		"the claim cannot be read":              {sim.Fault{Method: "pool.dataset.get_instance", Then: sim.Refuse}, true, false},
		"one that was just made is not read":    {sim.Fault{Method: "pool.dataset.get_instance", Then: sim.Refuse}, false, true},
		"one that was just made is not claimed": {sim.Fault{Method: "pool.dataset.update", Then: sim.Refuse}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClaimant(t)
			if tt.there {
				if err := c.nas.AddDataset(root, nil); err != nil {
					t.Fatal(err)
				}
			}
			_ = c.read()
			if tt.made {
				if err := c.nas.AddDataset(root, nil); err != nil {
					t.Fatal(err)
				}
			}
			c.nas.Inject(tt.fault)
			if err := c.EnsureRoot(t.Context(), root+"/vms/a"); err == nil || errors.Is(err, ErrForeign) {
				t.Errorf("got %v", err)
			}
			if err := c.EnsureRoot(t.Context(), root+"/vms/a"); err != nil {
				t.Errorf("repeated: %v", err)
			}
			if claim, marked, accepted := c.on(root); !marked || !accepted {
				t.Errorf("the root has %+v, %t, %t", claim, marked, accepted)
			}
		})
	}
}

// TestAdmit reads the roots again when the last reading is old, and counts that one while the NAS is unavailable.
func TestAdmit(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		name  string
		known bool
		age   time.Duration
		fails error
		reads int
		want  error
	}{
		{"never read", false, 0, nil, 1, nil}, {"never read, and it fails", false, 0, failed, 1, failed}, {"never read, and the key may not", false, 0, truenas.ErrPermission, 1, nil},
		{"just read", true, 0, failed, 0, nil}, {"read long ago", true, 2 * claimAge, nil, 1, nil}, {"read long ago, and it fails", true, 2 * claimAge, failed, 1, nil},
	} {
		reads := 0
		c := NewClaims(nil, "p", Installation{}, spec.Layout{Dataset: root}, func(context.Context) error { reads++; return tt.fails }, zap.NewNop())
		if tt.known {
			c.read = time.Now().Add(-tt.age)
		}
		if err := c.Admit(t.Context()); !errors.Is(err, tt.want) || reads != tt.reads {
			t.Errorf("%s: got %v after %d readings", tt.name, err, reads)
		}
	}
}

// TestRenew claims an existing tree without a claim, adds what a claim lacks, and changes nothing else.
func TestRenew(t *testing.T) {
	c := newClaimant(t)
	updates := func() (n int) {
		for _, method := range c.nas.Calls() {
			if method == "pool.dataset.update" {
				n++
			}
		}
		return n
	}
	_ = c.read()
	c.Renew(t.Context())
	if updates() != 0 {
		t.Error("a tree that does not exist was claimed")
	}
	if err := c.nas.AddDataset(root, nil); err != nil {
		t.Fatal(err)
	}
	nameless := c.as(Installation{})
	_ = nameless.read()
	nameless.Renew(t.Context())
	first, marked, _ := nameless.on(root)
	if !marked || first.ID == "" || first.owner != "" {
		t.Fatalf("claimed by %+v", first)
	}
	_ = c.read()
	c.Renew(t.Context())
	if claim, _, accepted := c.on(root); claim.ID != first.ID || claim.owner != "ns/a" || claim.cluster != "one" || !accepted || updates() != 2 {
		t.Errorf("renewed to %+v after %d updates", claim, updates())
	}
	_ = c.read()
	c.Renew(t.Context())
	other := c.as(Installation{Owner: "ns/b", Cluster: "two"})
	if err := other.read(); !errors.Is(err, ErrForeign) {
		t.Errorf("another installation: %v", err)
	}
	other.Renew(t.Context())
	if updates() != 2 {
		t.Errorf("%d updates", updates())
	}
	if d, err := c.api.Datasets.Get(t.Context(), root); err != nil {
		t.Error(err)
	} else if other.Note(d); !other.Foreign("tank") || other.Foreign("flash") {
		t.Error("a reading of the root does not show the owner")
	}
}

// TestCheckAway: a VM is not removed while a dataset that its others name is away with its pool, or has lost its marks.
func TestCheckAway(t *testing.T) {
	named := func(id, key, value string) truenas.Dataset {
		return truenas.Dataset{ID: id, LocalUserProperties: map[string]string{key: value}}
	}
	beside := "flash/virtrigaud/vms/teamZZweb_1"
	c := newClaimant(t)
	if err := errors.Join(c.nas.AddDataset(root, nil), c.nas.AddDataset(root+"/vms", nil), c.nas.AddDataset(home, nil)); err != nil {
		t.Fatal(err)
	}
	k := NewMarks(c.api, "p", spec.Layout{Dataset: root}, c.Claims)
	for _, tt := range []struct {
		name string
		own  []truenas.Dataset
		says string
	}{
		{"one dataset", []truenas.Dataset{{ID: home}}, ""},
		{"two that name each other", []truenas.Dataset{named(home, spec.PropPools, "flash"), named(beside, spec.PropHome, home)}, ""},
		{"a pool that is away", []truenas.Dataset{named(home, spec.PropPools, "gone")}, `pool "gone", which the NAS does not have at the moment: import the pool first, or remove gone from the user property ` + spec.PropPools},
		{"a dataset that was removed", []truenas.Dataset{named(home, spec.PropPools, "flash")}, ""},
		{"a home that has lost its marks", []truenas.Dataset{named(beside, spec.PropHome, home)}, home + " is where the VM of " + beside + " has disks, and does not carry the VM's user properties virtrigaud:*: set them there, or remove the user property " + spec.PropHome},
		{"a home that is away", []truenas.Dataset{named(beside, spec.PropHome, "gone/virtrigaud/vms/a")}, `pool "gone"`},
	} {
		err := k.CheckAway(t.Context(), tt.own)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	c.nas.Inject(sim.Fault{Method: "pool.dataset.query", Then: sim.Refuse})
	if err := k.CheckAway(t.Context(), []truenas.Dataset{named(home, spec.PropPools, "flash")}); err == nil {
		t.Error("a VM may be removed although its datasets could not be read")
	}
}
