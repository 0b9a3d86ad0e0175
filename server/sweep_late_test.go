package server_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// stagingRoot is the parent of the datasets for uploads.
const stagingRoot = "tank/virtrigaud/staging"

// byLateWork returns the faults of work that the NAS does later than its client expects. An export, a revert and a boot order have
// no uploads.
func byLateWork() []fault {
	list := []fault{{name: "a late upload after a destroy", try: uploadedLate, only: "pool.dataset.delete", spares: []string{"ExportDisk", "Revert", "Boot override", "Power on that boots"}}}
	for _, method := range []string{"vm.device.convert", "vm.import_disk_image", "vm.export_disk_image", "replication.run_onetime"} {
		list = append(list, fault{name: "a job that continues after its abort", try: abortIgnored, only: method})
	}
	return list
}

// errRepeat makes the caller retry.
var errRepeat = errors.New("the caller asks again")

// uploadedLate kills the provider after the n-th call, a destroy. A file then arrives in the destroyed dataset, so that a folder
// takes its place (rule 13). The folders stay, because no call removes them.
func uploadedLate(t *testing.T, p *point, n int) error {
	var before []string
	p.nas.OnCall(func(i int, _ string) {
		if i == n {
			before = stagingOf(p.nas)
		}
	})
	p.nas.Inject(sim.Fault{Nth: n, Then: sim.CutAfter})
	_ = p.once(t)
	p.nas.OnCall(nil)
	after := stagingOf(p.nas)
	api := p.api(t)
	for _, dataset := range before {
		if slices.Contains(after, dataset) {
			continue
		}
		if err := api.Files.Put(t.Context(), "/mnt/"+dataset+"/late", 0o600, strings.NewReader("late"), 4, nil); err != nil {
			t.Error(err)
		}
		p.folders = append(p.folders, strings.TrimPrefix(dataset, stagingRoot+"/"))
	}
	return errRepeat
}

// stagingOf lists the datasets for uploads.
func stagingOf(nas *sim.Sim) []string {
	var list []string
	for _, d := range nas.State().Datasets {
		if strings.HasPrefix(d.Name, stagingRoot+"/") {
			list = append(list, d.Name)
		}
	}
	return list
}

// abortIgnored aborts the job that the n-th call begins. The work continues (rule 16).
func abortIgnored(t *testing.T, p *point, n int) error {
	method, nth := p.methods[n-1], 0
	for _, m := range p.methods[:n] {
		if m == method {
			nth++
		}
	}
	p.nas.Inject(sim.Fault{Method: method, Nth: nth, Then: sim.AbortJob, Delay: 3 * late})
	return p.with(t, p.lasting(t))
}

// api returns a client of the NAS besides the provider.
func (p *point) api(t *testing.T) *truenas.Client {
	t.Helper()
	api, err := truenas.New(truenastest.Config(p.address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	return api
}

// withoutFolders returns a state without the folders of late uploads.
func (p *point) withoutFolders(s sim.State) sim.State {
	for i, d := range s.Datasets {
		if d.Name != stagingRoot || len(p.folders) == 0 {
			continue
		}
		s.Datasets[i].Files = slices.DeleteFunc(d.Files, func(f sim.FileState) bool {
			return slices.ContainsFunc(p.folders, func(folder string) bool { return f.Path == folder || strings.HasPrefix(f.Path, folder+"/") })
		})
		if len(s.Datasets[i].Files) == 0 {
			s.Datasets[i].Files = nil
		}
	}
	return s
}
