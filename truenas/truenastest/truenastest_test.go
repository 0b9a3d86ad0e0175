package truenastest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

func TestTranscript(t *testing.T) {
	name := filepath.Join(t.TempDir(), "transcript")
	t.Setenv("TRUENAS_SIM_TRANSCRIPT", name)
	for _, release := range []string{"25.10", "27"} {
		c, nas := truenastest.New(t, truenastest.Release(release))
		if _, err := c.VMs.Create(context.Background(), truenas.VMCreate{Name: "a", MemoryMiB: 64}); err != nil {
			t.Fatal(err)
		}
		if len(nas.Calls()) == 0 {
			t.Error("the simulator counted no calls")
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"vm.create"`); n != 2 {
		t.Errorf("%d machines in %s", n, text)
	}
	if strings.Contains(string(text), sim.DefaultAPIKey) {
		t.Error("the key is in the transcript")
	}
}
