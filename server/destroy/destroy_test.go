package destroy

import (
	"errors"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// Snapshots and volumes with circular dependencies are never destroyed.
func TestCycleIsNotDestroyed(t *testing.T) {
	c := Contents{roots: []string{"tank/vm"},
		Datasets:  []truenas.Dataset{{ID: "tank/vm"}, {ID: "tank/vm/a", Origin: "tank/vm/b@s"}, {ID: "tank/vm/b", Origin: "tank/vm/a@s"}},
		Snapshots: []truenas.Snapshot{{ID: "tank/vm/a@s", Dataset: "tank/vm/a"}, {ID: "tank/vm/b@s", Dataset: "tank/vm/b"}}}
	err := c.Empty(t.Context(), nil)
	if !errors.Is(err, truenas.ErrBusy) || !strings.Contains(err.Error(), "tank/vm/a@s and tank/vm/a depend on each other") {
		t.Errorf("got %v", err)
	}
}

// "Does not exist" counts as removed only when the list lacks the object too.
func TestVanished(t *testing.T) {
	listed := func(n int, err error) func() (int, error) { return func() (int, error) { return n, err } }
	if err := vanished(truenas.ErrNotFound, listed(0, nil)); err != nil {
		t.Errorf("an object that is not listed: %v", err)
	}
	if err := vanished(truenas.ErrNotFound, listed(1, nil)); !errors.Is(err, truenas.ErrBusy) || errors.Is(err, truenas.ErrNotFound) {
		t.Errorf("a listed object: %v", err)
	}
	if err := vanished(truenas.ErrNotFound, listed(0, truenas.ErrUnavailable)); !errors.Is(err, truenas.ErrUnavailable) {
		t.Errorf("without a list: %v", err)
	}
	if err := vanished(truenas.ErrBusy, listed(0, nil)); !errors.Is(err, truenas.ErrBusy) {
		t.Errorf("another error: %v", err)
	}
	if err := vanished(nil, listed(1, nil)); err != nil {
		t.Errorf("no error: %v", err)
	}
}
