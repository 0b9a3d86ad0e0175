package sim

import (
	"strings"
	"testing"
)

// Rule 2 as a fault: a recursive deletion on 26 and 27 destroys one dataset and returns true.
func TestDestroyHalf(t *testing.T) {
	n := newWire(t, Config{Release: "26"})
	p := n.login()
	for _, name := range []string{"tank/a", "tank/a/b", "tank/a/c"} {
		p.must("pool.dataset.create", object{"name": name})
	}
	n.Inject(Fault{Method: "pool.dataset.delete", Then: DestroyHalf})
	if got := p.must("pool.dataset.delete", "tank/a", object{"recursive": true}); got != "true" {
		t.Errorf("the deletion returns %s", got)
	}
	var left []string
	for _, d := range n.State().Datasets {
		left = append(left, d.Name)
	}
	if want := "tank tank/a tank/a/c"; strings.Join(left, " ") != want {
		t.Errorf("left: %q, want %q", left, want)
	}
}

// Another client makes a clone between the checks of a deletion and its work.
func TestCloneInTheMiddleOfADelete(t *testing.T) {
	n := newWire(t, Config{Release: "26"})
	p := n.login()
	p.must("pool.dataset.create", object{"name": "tank/v", "type": "VOLUME", "volsize": 1 << 30, "sparse": true})
	p.must("pool.snapshot.create", object{"dataset": "tank/v", "name": "s"})
	n.Inject(Fault{Method: "pool.snapshot.delete", Then: Overlap, During: func() {
		if err := n.AddClone("tank/v@s", "tank/theirs"); err != nil {
			t.Error(err)
		}
	}})
	if got := p.fails("pool.snapshot.delete", "tank/v@s"); !strings.Contains(got.Data.Reason, "has the following clones: tank/theirs") {
		t.Errorf("the deletion returns %+v", got)
	}
}
